"""Programs built into one executable get the verdicts they get alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from sleepy.artifacts import Check, CheckJob
from sleepy.sandbox.batch import check_together
from sleepy.sandbox.bwrap import Bwrap

TEST = ("assert_eq!(f(), 1);",)
PROGRAMS: dict[str, str] = {
    "passes": "pub fn f() -> u32 { 1 }",
    "has a module of its own": "mod inner { pub fn one() -> u32 { 1 } }\npub fn f() -> u32 { crate::inner::one() }",
    "is wrong": "pub fn f() -> u32 { 2 }",
    "does not compile": "pub fn f() -> u32 { true }",
    "lacks what is tested": "pub fn g() -> u32 { 1 }",
    "ends early": "pub fn f() -> u32 { std::process::exit(0) }",
    "panics": "pub fn f() -> u32 { todo!() }",
    "never ends": "pub fn f() -> u32 { loop {} }",
    "has a main": "pub fn f() -> u32 { 1 }\nfn main() {}",
    "has an inner attribute": "#![allow(dead_code)]\npub fn f() -> u32 { 1 }",
    "has a symbol": '#[unsafe(no_mangle)]\npub extern "C" fn twice() {}\npub fn f() -> u32 { 1 }',
    "has the same symbol": '#[unsafe(no_mangle)]\npub extern "C" fn twice() {}\npub fn f() -> u32 { 1 + 0 }',
}


BOX = Bwrap(run_cpu_seconds=1)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> dict[CheckJob, Check]:
    """Each program's verdict when it is built alone."""
    jobs = [CheckJob(text, TEST, "2024") for text in PROGRAMS.values()]
    checks = BOX.open(tmp_path_factory.mktemp("alone")).check_all(jobs)
    assert sum(check.passed for check in checks) == 6
    return dict(zip(jobs, checks, strict=True))


@pytest.mark.parametrize("sound", [False, True])
@pytest.mark.parametrize("left_out", ["has the same symbol", ""])
def test_the_verdicts_are_those_of_each_alone(
    tmp_path: Path, alone: dict[CheckJob, Check], left_out: str, sound: bool
) -> None:
    jobs = [job for job in alone if job.program != PROGRAMS.get(left_out)]
    calls: list[int] = []
    together = check_together(BOX.open(tmp_path), jobs, lambda: calls.append(1), sound=sound)
    assert [(c.stage, c.codes) for c in together] == [(alone[job].stage, alone[job].codes) for job in jobs]
    assert len(calls) == len(jobs)


def test_the_verdicts_are_cached_as_those_of_each_alone(tmp_path: Path) -> None:
    checker = Bwrap().open(tmp_path)
    jobs = [CheckJob(PROGRAMS[name], TEST, "2024") for name in ("passes", "is wrong")]
    found = check_together(checker, jobs)
    assert [checker.known(job) for job in jobs] == found
    assert found[1].stage == "test" and not found[1].passed


def test_a_lint_counts_as_an_error_of_the_compiler(tmp_path: Path) -> None:
    checker = Bwrap().open(tmp_path)
    program = "pub fn f() -> u32 {\n    return 1;\n}"
    lint = "clippy::needless_return"
    found = checker.check(program, (), "2021", lint)
    assert found.stage == "compile" and found.codes == (lint,)
    assert checker.check(program, (), "2021").passed
    jobs = [CheckJob(p, TEST, "2021", lint) for p in (program, "pub fn f() -> u32 {\n    1\n}")]
    assert [c.stage for c in check_together(checker, jobs)] == ["compile", "passed"]
