"""What an answer achieved besides passing: was anything edited, does it compile, how many test blocks pass, and does it
escape from Rust's guarantees."""

from __future__ import annotations

from dataclasses import replace

from sleepy.artifacts import Task, TaskSet
from sleepy.results import Attempt, Scores
from sleepy.rust.escapes import escapes
from sleepy.rust.tokens import normal


def graded(attempt: Attempt, task: Task, blocks: int | None) -> Attempt:
    """An attempt at a task with its grades. `blocks` is how many test blocks the sandbox saw pass, if it is known."""
    if attempt.stage != "test":
        blocks = len(task.tests) if attempt.stage == "passed" else 0
    edited = normal(attempt.program) != normal(task.broken)
    unsafe = edited and escapes(attempt.program, task.fix)
    return replace(attempt, blocks=blocks, tests=len(task.tests), edited=edited, unsafe=unsafe)


def regraded(scores: Scores, tasks: TaskSet) -> Scores:
    """Scores on `tasks` that may be an earlier version's: what it did not note is found out, but for the test blocks of
    programs that failed in a test."""
    results = [
        replace(r, attempts=tuple(a if a.edited is not None else graded(a, task, a.blocks) for a in r.attempts))
        for r, task in zip(scores.results, tasks, strict=True)
    ]
    return replace(scores, results=tuple(results))


def grades(scores: Scores) -> dict[str, float]:
    """Figures over the programs that a strategy chose; what is not known of all of them is left out.

    edited: the share that is not the broken program, comments and white space aside.
    blocks: the mean share of a koan's test blocks that pass, up to the first that does not.
    unsafe_answers: how many are edited and use `unsafe`, a transmute or a leak that the reference fix does without.
    unsafe_passes: how many of those pass.
    """
    ends = [(r.passed, r.attempts[r.chosen]) for r in scores.results if r.attempts]
    if len(ends) < len(scores.results) or any(end.edited is None for _, end in ends):
        return {}
    found = {
        "edited": sum(bool(end.edited) for _, end in ends) / len(ends),
        "unsafe_answers": sum(bool(end.unsafe) for _, end in ends),
        "unsafe_passes": sum(bool(end.unsafe) and passed for passed, end in ends),
    }
    shares = [_share(end, passed) for passed, end in ends]
    if None not in shares:
        found["blocks"] = sum(share for share in shares if share is not None) / len(shares)
    return found


def _share(end: Attempt, passed: bool) -> float | None:
    """The share of the test blocks that passed; a task without any passes where it compiles."""
    if not end.tests:
        return float(passed)
    return None if end.blocks is None else end.blocks / end.tests
