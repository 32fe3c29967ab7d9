"""The audit of tasks: is each what it claims to be, and do its tests catch what is no repair?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sleepy.artifacts import Check, Task
from sleepy.errors import DataError
from sleepy.sandbox._sandbox import Checker
from sleepy.sandbox._together import check_together
from sleepy.tasks._cheats import cheats
from sleepy.tasks._similar import fingerprint, nearest

EXACT_LIMIT = 0.4  # Jaccard of token 5-grams as written, and with names and literals anonymised, above which two
SHAPE_LIMIT = 0.6  # programs count as near-duplicates


@dataclass(frozen=True)
class Finding:
    """What is wrong with a task."""

    task: str
    problem: str


@dataclass(frozen=True)
class Audited:
    """A task's audit: cheats tried (all must be caught), and the nearest other task with its similarity."""

    task: Task
    broken: Check
    cheats: int
    nearest: str
    similarity: float


def prove(tasks: Sequence[Task], checker: Checker, done: Callable[[], object] = lambda: None) -> list[Finding]:
    """Every broken program fails with the code it claims, and every fix passes its tests. `done`: twice a task."""
    findings: list[Finding] = []
    broken = checker.check_all([t.broken_job for t in tasks], done)
    fixed = check_together(checker, [t.repaired_job(t.fix) for t in tasks], done)
    for task, b, f in zip(tasks, broken, fixed, strict=True):
        if b.compiles:
            findings.append(Finding(task.id, f"the broken program compiles, expected {task.code}"))
        elif task.code not in b.codes:
            said = ", ".join(c or "an error without a code" for c in b.codes) or b.detail
            findings.append(Finding(task.id, f"the broken program fails with {said}, expected {task.code}"))
        if not f.passed:
            findings.append(Finding(task.id, f"the fix does not pass ({f.stage}): {f.detail}"))
    return findings


def require_proof(tasks: Sequence[Task], checker: Checker, done: Callable[[], object] = lambda: None) -> None:
    """`prove`, with a DataError that lists every finding."""
    findings = prove(tasks, checker, done)
    if findings:
        raise DataError(
            "these tasks are not what they claim to be:\n" + "\n".join(f"  {f.task}: {f.problem}" for f in findings)
        )


def audit(
    tasks: Sequence[Task], checker: Checker, others: Sequence[Task] = (), done: Callable[[], object] = lambda: None
) -> tuple[list[Audited], list[Finding]]:
    """`prove`, and: at least two test blocks, every cheat caught, no near-duplicate among `tasks` or in `others` (tasks
    that are trained on). Returns a row a task and everything that was found wrong. `done`: three times a task."""
    findings = prove(tasks, checker, done)
    broken = checker.check_all([t.broken_job for t in tasks])
    tried = [cheats(t, b) for t, b in zip(tasks, broken, strict=True)]
    jobs = [(t, name, text) for t, found in zip(tasks, tried, strict=True) for name, text in found.items()]
    checks = check_together(checker, [t.repaired_job(text) for t, _, text in jobs])
    for (task, name, _), check in zip(jobs, checks, strict=True):
        if check.passed:
            findings.append(Finding(task.id, f"its tests pass on a cheat: {name}"))
    for task in tasks:
        done()
        if len(task.tests) < 2:
            findings.append(Finding(task.id, f"{len(task.tests)} test block, expected at least 2"))
    rows, alike = _neighbours(tasks, others, broken, [len(t) for t in tried])
    return rows, findings + alike


def _neighbours(
    tasks: Sequence[Task], others: Sequence[Task], broken: Sequence[Check], tried: Sequence[int]
) -> tuple[list[Audited], list[Finding]]:
    prints, theirs = ([fingerprint(t.broken) for t in group] for group in (tasks, others))
    findings: list[Finding] = []
    best: list[tuple[float, str]] = [(0.0, "")] * len(tasks)
    for kind, limit in (("exact", EXACT_LIMIT), ("shape", SHAPE_LIMIT)):
        mine = [getattr(p, kind) for p in prints]
        for group, near in (
            (tasks, nearest(mine, mine, same=True)),
            (others, nearest(mine, [getattr(p, kind) for p in theirs])),
        ):
            for i, (j, similarity) in enumerate(near):
                if j < 0:
                    continue
                if similarity > limit:
                    findings.append(
                        Finding(
                            tasks[i].id,
                            f"near-duplicate of {group[j].id}: similarity {similarity:.2f} "
                            f"({kind}), expected at most {limit}",
                        )
                    )
                if kind == "exact" and similarity > best[i][0]:
                    best[i] = (similarity, group[j].id)
    rows = [Audited(t, b, n, name, s) for t, b, n, (s, name) in zip(tasks, broken, tried, best, strict=True)]
    return rows, findings
