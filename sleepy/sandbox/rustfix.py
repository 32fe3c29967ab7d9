"""Repair without a model: rustc's suggestions applied, round by round."""

from __future__ import annotations

from collections.abc import Sequence

from sleepy.artifacts import Check, CheckJob
from sleepy.rust.fixes import with_fixes
from sleepy.sandbox.checker import Judge

ROUNDS = 4


def rustfixed(judge: Judge, jobs: Sequence[CheckJob], checks: Sequence[Check]) -> list[tuple[str, Check]]:
    """Each job's program after at most ROUNDS rounds of the first suggestion of each error, and what the compiler says
    of it. `checks` is what it says of the jobs, which have no tests. A round without a suggestion, or a program that
    compiles, ends it. Where a project's own tests fail then, the program is as it was."""
    found = [(job.program, check) for job, check in zip(jobs, checks, strict=True)]
    for _ in range(ROUNDS):
        fixed = {
            i: text
            for i, (program, check) in enumerate(found)
            if not check.compiles and (text := with_fixes(program, check.diagnostics)) != program
        }
        again = judge.check_all([jobs[i]._replace(program=text) for i, text in fixed.items()])
        for (i, text), check in zip(fixed.items(), again, strict=True):
            found[i] = (jobs[i].program, checks[i]) if check.stage == "test" else (text, check)
    return found
