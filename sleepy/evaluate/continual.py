"""Figures of continual learning, after Lopez-Paz and Ranzato 2017 (arXiv 1706.08840) and Chaudhry et al. 2018."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from sleepy.results import Course, Scores

DRAWS = 2000


@dataclass(frozen=True)
class Continual:
    """`matrix[i][j]` is R[i, j], the accuracy on task j after learning task i; `base[j]` the base model's.

    acc: mean over j of R[T, j]. bwt: mean over j < T of R[T, j] - R[j, j], what later tasks did to earlier ones.
    fwt: mean over j > 1 of R[j-1, j] - base[j], what earlier tasks did to later ones before they were learned.
    forgetting: for each task the best it ever was less what it is in the end. The pairs are 95 % bootstrap intervals
    over koans, drawn within their task and kept together over the steps (that of forgetting is of the mean).
    """

    matrix: list[list[float]]
    base: list[float]
    acc: float
    bwt: float
    fwt: float
    forgetting: list[float]
    acc_interval: tuple[float, float]
    bwt_interval: tuple[float, float]
    fwt_interval: tuple[float, float]
    forgetting_interval: tuple[float, float]

    def summary(self) -> dict[str, float]:
        """The figures with a single value, and the mean forgetting."""
        return {"acc": self.acc, "bwt": self.bwt, "fwt": self.fwt, "forgetting": _mean(self.forgetting)}


def continual(course: Course, seed: int = 0) -> Continual:
    """The figures of a course with as many tasks as steps."""
    where = {r.task: i for i, r in enumerate(course.before.results)}
    groups = [[where[task] for task in group] for group in course.groups]
    before, after = _outcomes(course.before), [_outcomes(scores) for scores in course.after]
    matrix, base = _rates(after, groups), _rates([before], groups)[0]
    rng = random.Random(seed)
    drawn = []
    for _ in range(DRAWS):
        again = [rng.choices(group, k=len(group)) for group in groups]
        rates = _rates(after, again)
        drawn.append((*figures(rates, _rates([before], again)[0]), _mean(_forgetting(rates))))
    acc, bwt, fwt = figures(matrix, base)
    low_high = [_interval([d[i] for d in drawn]) for i in range(4)]
    return Continual(matrix, base, acc, bwt, fwt, _forgetting(matrix), *low_high)


def figures(matrix: Sequence[Sequence[float]], base: Sequence[float]) -> tuple[float, float, float]:
    """ACC, BWT and FWT of a square matrix R[i][j] and the base model's row; BWT and FWT are 0 for a single task."""
    last, tasks = matrix[-1], len(matrix)
    acc = sum(last) / tasks
    bwt = sum(last[j] - matrix[j][j] for j in range(tasks - 1)) / max(1, tasks - 1)
    fwt = sum(matrix[j - 1][j] - base[j] for j in range(1, tasks)) / max(1, tasks - 1)
    return acc, bwt, fwt


def _forgetting(matrix: Sequence[Sequence[float]]) -> list[float]:
    return [max(row[j] for row in matrix) - last for j, last in enumerate(matrix[-1])]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _outcomes(scores: Scores) -> list[bool]:
    return [r.passed for r in scores.results]


def _rates(outcomes: Sequence[Sequence[bool]], groups: Sequence[Sequence[int]]) -> list[list[float]]:
    return [[sum(row[i] for i in group) / len(group) for group in groups] for row in outcomes]


def _interval(values: list[float]) -> tuple[float, float]:
    ordered = sorted(values)
    return ordered[int(0.025 * len(ordered))], ordered[int(0.975 * len(ordered))]
