"""How far each row is from what it is paired with, and how sure that is: for one run, and for several seeds."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sleepy.evaluate.several import max_t
from sleepy.evaluate.stats import compare, detectable, score_interval
from sleepy.results import Scores
from sleepy.results_page.rows import Row

DRAWS = 2000
Exam = tuple[str, tuple[str, ...]]  # digest of a task set, and the pattern of each of its koans


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A row's pass rate less that of what it is paired with, as fractions, over `koans`.

    of_seeds: that of each run. spread: their standard deviation (n - 1); None for one run. fixes, regressions: koans
    gained and lost, as the mean over runs. interval: 95 %; for one run Tango's score interval, for several by bootstrap
    over seeds, patterns and koans. p_value: of McNemar's exact test, such that it holds for all rows on the same koans
    together (step-down max-T); None for several runs, where the interval says it.
    """

    koans: int
    value: float
    of_seeds: tuple[float, ...]
    spread: float | None
    fixes: float
    regressions: float
    interval: tuple[float, float]
    p_value: float | None

    @property
    def beyond_chance(self) -> bool:
        """Whether chance would not explain it, at 5 %."""
        return self.p_value < 0.05 if self.p_value is not None else not self.interval[0] <= 0 <= self.interval[1]


class Draws:
    """Exams drawn again with replacement, the same for all rows: patterns first, since koans of one pattern are alike,
    then koans within each (Davison and Hinkley, Bootstrap Methods, 1997, section 3.8)."""

    def __init__(self, seed: int = 0) -> None:
        self._seed, self._known = seed, dict[Exam, Any]()

    def of(self, row: Row) -> Any:
        """The row's difference in each draw, as fractions: an array of DRAWS. Of several seeds, seeds are drawn too.
        The row must have pairs of one task set."""
        import numpy as np

        changes = np.array([_changes(before, after) for before, after in row.pairs])
        weights = self._weights(_exam(row.pairs[0][1]))
        of_runs = changes @ weights.T / weights.sum(axis=1)  # runs x draws
        runs = len(changes)
        drawn = np.random.default_rng([self._seed, runs]).multinomial(runs, [1 / runs] * runs, DRAWS)
        return (of_runs * drawn.T).sum(axis=0) / runs

    def _weights(self, exam: Exam) -> Any:
        """How often each koan is in each draw: DRAWS x koans."""
        import numpy as np

        if exam not in self._known:
            rng, patterns = np.random.default_rng(self._seed), list(dict.fromkeys(exam[1]))
            chosen = rng.multinomial(len(patterns), [1 / len(patterns)] * len(patterns), DRAWS)
            weights = np.zeros((DRAWS, len(exam[1])))
            for number, pattern in enumerate(patterns):
                own = [i for i, name in enumerate(exam[1]) if name == pattern]
                weights[:, own] = rng.multinomial(len(own) * chosen[:, number], [1 / len(own)] * len(own))
            self._known[exam] = weights
        return self._known[exam]


def differences(rows: Sequence[Row], draws: Draws) -> list[Difference | None]:
    """Each row's difference; None where it is paired with nothing."""
    found = [_difference(row, draws) if _comparable(row) else None for row in rows]
    together: dict[str, list[int]] = {}  # rows of one run each, by their koans
    for i, d in enumerate(found):
        if d and d.p_value is not None:
            together.setdefault(rows[i].after[0].tasks_digest, []).append(i)
    for places in together.values():
        adjusted = max_t([_changes(*rows[i].pairs[0]) for i in places])
        for i, p_value in zip(places, adjusted, strict=True):
            if d := found[i]:
                found[i] = replace(d, p_value=p_value)
    return found


def _comparable(row: Row) -> bool:
    """Whether all runs of the row are paired, on one task set."""
    return len(row.pairs) == len(row.jobs) and len({after.tasks_digest for after in row.after}) == 1


def _difference(row: Row, draws: Draws) -> Difference:
    found = [compare(before, after) for before, after in row.pairs]
    values, koans = tuple(c.difference for c in found), len(row.after[0].results)
    interval, p_value = found[0].interval, found[0].p_value if len(found) == 1 else None
    if len(found) > 1:
        # Where no koan changed a bootstrap would be sure of it; so many koans cannot be.
        changed = any(c.fixes or c.regressions for c in found)
        interval = percentiles(draws.of(row)) if changed else score_interval(koans, 0, 0)
    return Difference(
        koans=koans,
        value=statistics.mean(values),
        of_seeds=values,
        spread=statistics.stdev(values) if len(values) > 1 else None,
        fixes=statistics.mean(len(c.fixes) for c in found),
        regressions=statistics.mean(len(c.regressions) for c in found),
        interval=interval,
        p_value=p_value,
    )


@dataclass(frozen=True)
class Effect:
    """What a value of an axis does: the mean difference of its rows less that of all rows of the axis, as fractions,
    with a 95 % interval by bootstrap (see Draws). rows: how many have the value."""

    value: str
    rows: int
    mean: float
    effect: float
    interval: tuple[float, float]


def effects(rows: Sequence[Row], found: Sequence[Difference | None], draws: Draws) -> dict[str, list[Effect]]:
    """Axis -> its values in their order. Only rows of the first compared row's task set count; an axis of which these
    have one value is left out."""
    import numpy as np

    compared = [(row, d) for row, d in zip(rows, found, strict=True) if d]
    same = [(row, d) for row, d in compared if _exam(row.after[0]) == _exam(compared[0][0].after[0])]
    drawn = [draws.of(row) for row, _ in same]
    out: dict[str, list[Effect]] = {}
    for axis in same[0][0].values if same else ():
        of: dict[str, list[int]] = {}
        for i, (row, _) in enumerate(same):
            of.setdefault(row.values[axis], []).append(i)
        if len(of) < 2:
            continue
        everywhere, mean_of_all = np.mean(drawn, axis=0), statistics.mean(d.value for _, d in same)
        out[axis] = []
        for value, places in of.items():
            mean = statistics.mean(same[i][1].value for i in places)
            bounds = percentiles(np.mean([drawn[i] for i in places], axis=0) - everywhere)
            out[axis].append(Effect(value, len(places), mean, mean - mean_of_all, bounds))
    return out


def percentiles(values: Any) -> tuple[float, float]:
    """The 2.5th and the 97.5th percentile."""
    import numpy as np

    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)


def smallest_noticed(rows: Sequence[Row], found: Sequence[Difference | None]) -> float:
    """The smallest true difference that the exam shows in four of five experiments, for the median row; infinite where
    no difference would be large enough. See stats.detectable."""
    changed = [d.fixes + d.regressions for d in found if d]
    koans = [d.koans for d in found if d] or [len(rows[0].after[0].results)]
    return detectable(int(statistics.median(koans)), round(statistics.median(changed or [0])))


def forgetting(row: Row) -> float | None:
    """What was lost, as a fraction: a stream's mean forgetting, else the share of what passed before that fails now.
    None where nothing could be lost."""
    known: Sequence[Mapping[str, float]] = [job.metrics for job in row.jobs]
    if all("stream/forgetting" in metrics for metrics in known):
        return statistics.mean(metrics["stream/forgetting"] for metrics in known)
    shares = []
    for before, after in row.pairs:
        passed = [a.passed for b, a in zip(before.results, after.results, strict=True) if b.passed]
        shares += [1 - sum(passed) / len(passed)] if passed else []
    return statistics.mean(shares) if shares else None


def _changes(before: Scores, after: Scores) -> list[int]:
    return [a.passed - b.passed for b, a in zip(before.results, after.results, strict=True)]


def _exam(scores: Scores) -> Exam:
    return scores.tasks_digest, tuple(r.pattern for r in scores.results)
