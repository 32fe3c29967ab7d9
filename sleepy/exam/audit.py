"""The audit of tasks: is each what it claims to be, and do its tests catch what is no repair?"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from types import MappingProxyType

from sleepy.artifacts import Check, Task
from sleepy.errors import DataError, several
from sleepy.exam.cheats import cheats
from sleepy.exam.contamination import LIMITS, Near, most_alike, most_alike_edits
from sleepy.exam.mutants import mutants
from sleepy.rust.similarity import fingerprint
from sleepy.sandbox.batch import check_together
from sleepy.sandbox.checker import Checker


@dataclass(frozen=True)
class Finding:
    """What is wrong with a task."""

    task: str
    problem: str


MISSED = 2  # mutants of one fix that may pass: some small changes are no mistakes


@dataclass(frozen=True)
class Audited:
    """A task's audit: cheats tried (all must be caught), mutants that compile, the names of those that pass, and what
    the task is most alike among koans and among pairs."""

    task: Task
    broken: Check
    cheats: int
    mutants: int
    survivors: tuple[str, ...]
    koan: Near
    pair: Near


def prove(tasks: Sequence[Task], checker: Checker, done: Callable[[], object] = lambda: None) -> list[Finding]:
    """Every broken program fails with the code it claims, and every fix passes its tests. `done`: twice a task."""
    findings: list[Finding] = []
    broken = checker.check_all([t.broken_job for t in tasks], done)
    fixed = check_together(checker, [t.repaired_job(t.fix) for t in tasks], done, sound=True)
    for task, b, f in zip(tasks, broken, fixed, strict=True):
        if b.compiles:
            findings.append(Finding(task.id, f"the broken program compiles, although it should fail with {task.code}"))
        elif task.code not in b.codes:
            said = ", ".join(c or "an error without a code" for c in b.codes) or b.detail
            findings.append(Finding(task.id, f"the broken program fails with {said}, not with {task.code}"))
        if not f.passed:
            findings.append(Finding(task.id, f"the fix does not pass ({f.stage}): {f.detail}"))
    return findings


def require_proof(
    tasks: Sequence[Task],
    checker: Checker,
    done: Callable[[], object] = lambda: None,
    places: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """`prove`, with a DataError that lists every finding; `places` are those of a user's own tasks: see TaskSet."""
    findings = prove(tasks, checker, done)
    if findings:
        named = [(f"{places[f.task]}: {f.task}" if f.task in places else f.task, f.problem) for f in findings]
        lines = [f"  {name}: {problem}" for name, problem in named]
        raise DataError("these tasks are not what they claim to be:\n" + several(lines))


def audit(
    tasks: Sequence[Task],
    checker: Checker,
    pairs: Sequence[Task] = (),
    done: Callable[[], object] = lambda: None,
    koans: Sequence[Task] = (),
) -> tuple[list[Audited], list[Finding]]:
    """`prove`, and: at least two test blocks, every cheat caught, at most MISSED mutants of a fix that pass, no
    near-duplicate among `tasks`, in `koans` (of other sets) or in `pairs` (that are trained on). Returns a row a task
    and everything that was found wrong. `done`: three times a task."""
    findings = prove(tasks, checker, done)
    broken = checker.check_all([t.broken_job for t in tasks])
    tried = [cheats(t, b) for t, b in zip(tasks, broken, strict=True)]
    jobs = [(t, name, text) for t, found in zip(tasks, tried, strict=True) for name, text in found.items()]
    checks = check_together(checker, [t.repaired_job(text) for t, _, text in jobs])
    for (task, name, _), check in zip(jobs, checks, strict=True):
        if check.passed:
            findings.append(Finding(task.id, f"its tests pass on a cheat: {name}"))
    mutated = _mutated(tasks, checker)
    for task, (_, survivors) in zip(tasks, mutated, strict=True):
        done()
        if len(survivors) > MISSED:
            findings.append(Finding(task.id, f"its tests pass on {len(survivors)} mutants: {'; '.join(survivors)}"))
        if len(task.tests) < 2:
            findings.append(Finding(task.id, f"it has {len(task.tests)} test block and needs at least 2"))
    near, duplicates = alike(tasks, pairs, koans)
    rows = [
        Audited(t, b, len(c), *m, k, p) for t, b, c, m, (k, p) in zip(tasks, broken, tried, mutated, near, strict=True)
    ]
    return rows, findings + duplicates


def _mutated(tasks: Sequence[Task], checker: Checker) -> list[tuple[int, tuple[str, ...]]]:
    """How many of each fix's mutants compile, and the names of those that its tests do not notice."""
    tried = [mutants(t) for t in tasks]
    jobs = [t.repaired_job(text) for t, found in zip(tasks, tried, strict=True) for text in found.values()]
    checks = iter(check_together(checker, jobs))
    found = []
    for names in tried:
        ends = [(name, next(checks)) for name in names]
        built = [(name, c.passed) for name, c in ends if c.passed or (c.stage == "test" and not c.diagnostics)]
        found.append((len(built), tuple(name for name, passed in built if passed)))
    return found


def alike(
    tasks: Sequence[Task], pairs: Sequence[Task] = (), koans: Sequence[Task] = ()
) -> tuple[list[tuple[Near, Near]], list[Finding]]:
    """For each task what is most like it among `tasks` and `koans`, and among `pairs`, whose edits count too; and
    every near-duplicate."""
    prints, theirs, others = ([fingerprint(t.broken) for t in group] for group in (tasks, pairs, koans))
    to_koans = most_alike(prints, [*prints, *others], [t.id for t in (*tasks, *koans)], same=True)
    programs = most_alike(prints, theirs, [t.id for t in pairs])
    to_pairs = [(*both, edit) for both, edit in zip(programs, most_alike_edits(tasks, pairs), strict=True)]
    findings = [
        Finding(
            task.id,
            f"near-duplicate of {near.task}: similarity {near.similarity:.2f} ({near.kind}), at most "
            f"{LIMITS[near.kind]} is allowed",
        )
        for task, koan, pair in zip(tasks, to_koans, to_pairs, strict=True)
        for near in (*koan, *pair)
        if near.excess > 1
    ]
    worst = attrgetter("excess")
    return [(max(k, key=worst), max(p, key=worst)) for k, p in zip(to_koans, to_pairs, strict=True)], findings
