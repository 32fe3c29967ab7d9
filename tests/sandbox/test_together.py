"""Programs built into one executable get the verdicts they get alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from sleepy.artifacts import ToCheck
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


@pytest.mark.slow
@pytest.mark.parametrize("left_out", ["has the same symbol", ""])
def test_the_verdicts_are_those_of_each_alone(tmp_path: Path, left_out: str) -> None:
    jobs: list[ToCheck] = [(text, TEST, "2024", "") for name, text in PROGRAMS.items() if name != left_out]
    alone = Bwrap().open(tmp_path / "alone").check_all(jobs)
    calls: list[int] = []
    together = check_together(Bwrap().open(tmp_path / "together"), jobs, lambda: calls.append(1))
    unsorted = check_together(Bwrap().open(tmp_path / "unsorted"), jobs, sound=True)
    assert [(c.stage, c.codes) for c in unsorted] == [(c.stage, c.codes) for c in together]
    assert {job[0]: (a.stage, a.codes) for job, a in zip(jobs, alone, strict=True)} == {
        job[0]: (t.stage, t.codes) for job, t in zip(jobs, together, strict=True)
    }
    assert sum(c.passed for c in together) == 5 + (not left_out)
    assert len(calls) == len(jobs)


def test_the_verdicts_are_cached_as_those_of_each_alone(tmp_path: Path) -> None:
    checker = Bwrap().open(tmp_path)
    jobs: list[ToCheck] = [(PROGRAMS[name], TEST, "2024", "") for name in ("passes", "is wrong")]
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
    jobs: list[ToCheck] = [(p, TEST, "2021", lint) for p in (program, "pub fn f() -> u32 {\n    1\n}")]
    assert [c.stage for c in check_together(checker, jobs)] == ["compile", "passed"]
