"""Many programs checked at the price of a few: those that compile are built into one executable.

Only for programs that are trusted not to cheat (koans, pairs, and what the audit derives from them): programs in one
executable could read each other's evidence. A model's answers are always built alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from sleepy.artifacts import Check, CheckJob
from sleepy.machine import cores
from sleepy.sandbox.checker import Checker
from sleepy.sandbox.rustc import with_tests

TOGETHER = 12  # programs an executable


def check_together(
    checker: Checker, jobs: Sequence[CheckJob], done: Callable[[], object] = lambda: None, *, sound: bool = False
) -> list[Check]:
    """The verdicts of `Checker.check_all` on trusted programs with tests; `done` is called after each. Programs are
    first compiled alone, for one that fails spoils its group's executable; `sound` ones, which ought to pass, only
    where a lint is asked for."""
    found = {job: known for job in jobs if (known := checker.known(job))}
    unknown = [job for job in dict.fromkeys(jobs) if job not in found]
    first = [job for job in unknown if job.lint or not sound]
    for job, check in zip(first, checker.check_all([job._replace(tests=()) for job in first]), strict=True):
        if not check.passed:
            checker.learn(job, check)
            found[job] = check
    with ThreadPoolExecutor(cores()) as pool:
        groups = list(_groups([job for job in unknown if job not in found]))
        for group, checks in zip(groups, pool.map(lambda g: _build(checker, g), groups), strict=True):
            for job, check in zip(group, checks, strict=True):
                checker.learn(job, check)
                found[job] = check
    for _ in jobs:
        done()
    return [found[job] for job in jobs]


def _groups(jobs: Sequence[CheckJob]) -> Iterator[list[CheckJob]]:
    for edition in sorted({job.edition for job in jobs}):
        same = [job for job in jobs if job.edition == edition]
        yield from (same[i : i + TOGETHER] for i in range(0, len(same), TOGETHER))


def _build(checker: Checker, jobs: list[CheckJob]) -> list[Check]:
    """Verdicts on programs that compile alone. Those in which the common build finds an error are built alone."""
    if len(jobs) < 2:
        return [checker.build_and_run(job) for job in jobs]
    source, tests, ends = "", [], []
    for i, job in enumerate(jobs):
        text, path, nonces = with_tests(job.program, job.tests)
        source += f"mod k{i} {{\n{text}\n}}\n"
        tests.append((f"k{i}::{path}", nonces))
        ends.append(source.count("\n"))
    with checker.scratch() as folder:
        failed = checker.build(source, jobs[0].edition, folder)
        if failed is None:
            return [checker.run(folder / "koan", path, nonces) for path, nonces in tests]
    lines = [n for d in failed.diagnostics for n, _ in d.labels]
    alone = {next((i for i, end in enumerate(ends) if n <= end), 0) for n in lines} or set(range(len(jobs)))
    rest = iter(_build(checker, [job for i, job in enumerate(jobs) if i not in alone]))
    return [checker.build_and_run(job) if i in alone else next(rest) for i, job in enumerate(jobs)]
