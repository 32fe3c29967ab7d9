"""Several evaluations compared with one: p values that hold for all of them together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sleepy.evaluate.stats import mcnemar_exact

if TYPE_CHECKING:
    import numpy as np

DRAWS = 10_000
ALL_WAYS = 14  # up to so many changed koans every way to give them signs is counted, beyond it DRAWS of them


def max_t(changes: Sequence[Sequence[int]], seed: int = 0) -> list[float]:
    """Adjusted p of each comparison: step-down max-T, which holds the chance of any false finding among all of them.

    `changes[j][k]` is what became of koan k in evaluation j, beside the first one that all are compared with: 1 for a
    fix, -1 for a regression, else 0. The statistic is |fixes - regressions| / sqrt(fixes + regressions), which orders
    the outcomes of one comparison as McNemar's exact test does: a single one gets that test's p. Under the null each
    koan's changes, in all evaluations together, may as well have the other sign. Evaluations that change the same koans
    thereby count as the one that they nearly are, where Holm's method counts each. All ways to give signs are counted
    where few koans changed; else they are drawn by `seed`, and the observed one is counted with them.

    Sources: P. H. Westfall and S. S. Young, Resampling-Based Multiple Testing (1993), algorithm 4.1; for drawn signs
    B. Phipson and G. K. Smyth, Statistical Applications in Genetics and Molecular Biology 9 (2010), 39.
    """
    import numpy as np

    own = [mcnemar_exact(sum(c > 0 for c in row), sum(c < 0 for c in row)) for row in changes]
    if len(own) < 2:
        return own
    table = np.asarray(changes, dtype=np.float64)
    table = table[:, table.any(axis=0)]
    lengths = np.sqrt((table * table).sum(axis=1))
    scaled = table / np.where(lengths, lengths, 1.0)[:, None]
    signs, drawn = _signs(table.shape[1], seed)
    null, observed = np.abs(signs @ scaled.T), np.abs(scaled.sum(axis=1))
    order = np.argsort(-observed, kind="stable")
    # the largest statistic among those from each place on, in the order of the observed ones
    largest = np.maximum.accumulate(null[:, order[::-1]], axis=1)[:, ::-1]
    reached = (largest >= observed[order] - 1e-9).sum(axis=0)
    adjusted = np.empty(len(observed))
    adjusted[order] = np.maximum.accumulate((reached + drawn) / (len(signs) + drawn))
    return [max(float(p), alone) for p, alone in zip(adjusted, own, strict=True)]  # drawing may come out a little lower


def _signs(koans: int, seed: int) -> tuple[np.ndarray, int]:
    """Ways to give signs to so many koans, a row each, and 1 where they are drawn instead of counted. All signs turned
    round give the same statistics, so that counting needs only the ways with the first sign as it is."""
    import numpy as np

    if koans > ALL_WAYS:
        return np.random.default_rng(seed).choice((-1.0, 1.0), (DRAWS, koans)), 1
    ways = np.arange(2 ** max(0, koans - 1))
    bits = (ways[:, None] >> np.arange(max(0, koans - 1))) & 1
    return np.hstack([np.ones((len(ways), min(1, koans))), 1.0 - 2.0 * bits]), 0


def benjamini_hochberg(p_values: Sequence[float]) -> list[float]:
    """Adjusted p values, in the given order, by which the expected share of false findings among those below a level is
    at most that level: for a screen, whose findings are measured again. Source: Y. Benjamini and Y. Hochberg, JRSS B 57
    (1995), 289-300."""
    from scipy.stats import false_discovery_control

    return [float(p) for p in false_discovery_control(p_values)]
