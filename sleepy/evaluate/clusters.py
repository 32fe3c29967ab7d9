"""Statistics of two evaluations by cluster: koans of one pattern, or of one family, have an author and an adapter in
common, so that they may change together. What is independent is then the cluster and not the koan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sleepy.evaluate.stats import p_text
from sleepy.results import Scores

DRAWS = 10_000
FEWEST = 10  # clusters for an interval: of simulated ones with 10 to 14 about 0.90 hold the truth, with 7 about 0.84


@dataclass(frozen=True)
class Clustered:
    """A paired comparison of `koans` koans whose units are the `clusters` patterns or families (`by`) they are of.
    `interval` is that of the difference of pass rates, as fractions; None where it would mislead: there are too few
    clusters, or all changed alike and it would be a point."""

    by: str
    koans: int
    clusters: int
    p_value: float
    interval: tuple[float, float] | None

    @property
    def line(self) -> str:
        """The figures in words, with both numbers of units."""
        plural = {"pattern": "patterns", "family": "families"}[self.by]
        text = f"{self.clusters} {plural} of {self.koans} koans: sign-flip {p_text(self.p_value)}"
        if self.interval is None:
            return text
        low, high = (100 * bound for bound in self.interval)
        return f"{text}, 95 % bootstrap {low:+.1f} to {high:+.1f}"


def clustered(before: Scores, after: Scores, by: str = "pattern") -> Clustered:
    """The comparison of two evaluations of the same tasks with the units `by`, "pattern" or "family"."""
    totals, sizes = dict[str, int](), dict[str, int]()
    for b, a in zip(before.results, after.results, strict=True):
        name = str(getattr(b, by))
        totals[name] = totals.get(name, 0) + a.passed - b.passed
        sizes[name] = sizes.get(name, 0) + 1
    changes, counts = list(totals.values()), list(sizes.values())
    low, high = bootstrap(changes, counts) if len(changes) >= FEWEST else (0.0, 0.0)
    interval = (low, high) if low < high else None
    return Clustered(by, sum(counts), len(counts), sign_flip(changes), interval)


def sign_flip(totals: Sequence[int]) -> float:
    """Two-sided p of the sign-flip test: were the two evaluations exchangeable within each cluster, all of its koans
    together? `totals` are fixes less regressions of each.

    Under the null each total may as well have the other sign. p is the share of all ways to give signs in which the sum
    is at least as far from 0 as it is; the sum's distribution is computed by convolution, so that p is exact for any
    number of clusters. With a koan as the cluster it is McNemar's exact test. Source: R. A. Fisher, The Design of
    Experiments (1935), section 21.
    """
    import numpy as np

    reach = sum(map(abs, totals))
    chances = np.zeros(2 * reach + 1)
    chances[reach] = 1.0
    for total in totals:
        chances = (np.roll(chances, total) + np.roll(chances, -total)) / 2  # never around an end: reach is all there is
    distances = np.abs(np.arange(-reach, reach + 1))
    return min(1.0, float(chances[distances >= abs(sum(totals))].sum()))


def bootstrap(
    totals: Sequence[int], sizes: Sequence[int], confidence: float = 0.95, draws: int = DRAWS, seed: int = 0
) -> tuple[float, float]:
    """Percentile interval of the difference of pass rates: clusters are drawn again with all of their koans. `totals`
    and `sizes` are fixes less regressions, and koans, of each cluster.

    It is too narrow for few clusters: see FEWEST. Source: A. C. Davison and D. V. Hinkley, Bootstrap Methods and their
    Application (1997), sections 3.8 and 5.3.
    """
    import numpy as np

    clusters = len(totals)
    drawn = np.random.default_rng(seed).multinomial(clusters, np.full(clusters, 1 / clusters), draws)
    differences = drawn @ np.asarray(totals) / (drawn @ np.asarray(sizes))
    low, high = np.quantile(differences, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)
