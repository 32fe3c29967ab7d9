"""Ten-fold figures of a routing over the training pairs alone, which need neither compiler nor model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from sleepy.artifacts import Check, Diagnostic, Task, TaskSet
from sleepy.routing.route import Routing, accuracy

FOLDS = 10


def said_of(pair: Task) -> Check:
    """What rustc says of a pair's broken program, as the pair records it."""
    return Check("compile", "", (Diagnostic(pair.code, "", (), (), pair.message),))


def held_out(routing: Routing, pairs: TaskSet, whole_patterns: bool) -> dict[str, float]:
    """Shares of pairs routed right, wrong and missed, a tenth of the pairs left out at a time, each time every tenth of
    each pattern; or every tenth pattern, whose pairs are right when they fall to the base model."""
    found: dict[str, float] = {"right": 0, "wrong": 0, "missed": 0}
    for known, asked in _folds(pairs, whole_patterns):
        names = sorted({t.pattern for t in known})
        figures = accuracy(routing.open(known, names), asked.tasks, [said_of(t) for t in asked], names)
        found = {key: found[key] + figures[key] / len(pairs) for key in found}
    return found


def _folds(pairs: TaskSet, whole_patterns: bool) -> Iterator[tuple[TaskSet, TaskSet]]:
    patterns = sorted({t.pattern for t in pairs})
    place: dict[str, int] = {}
    fold = {}
    for task in pairs:
        place[task.pattern] = place.get(task.pattern, -1) + 1
        fold[task.id] = (patterns.index(task.pattern) if whole_patterns else place[task.pattern]) % FOLDS
    for n in range(FOLDS):
        asked = tuple(t for t in pairs if fold[t.id] == n)
        yield replace(pairs, tasks=tuple(t for t in pairs if fold[t.id] != n)), replace(pairs, tasks=asked)
