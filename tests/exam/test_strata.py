"""The strata that are recorded are those that the compiler gives."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from sleepy.artifacts import Task, digest_of
from sleepy.exam.builtin import frozen
from sleepy.exam.strata import (
    FILE,
    NEITHER,
    SETS,
    SHOWN,
    STRATA,
    SUGGESTED,
    copied,
    recorded_strata,
    strata,
    stratum_of,
)
from sleepy.files import read_json
from sleepy.rust.messages import short_message
from sleepy.sandbox.bwrap import Bwrap
from sleepy.sandbox.checker import Checker
from sleepy.sandbox.rustc import toolchain

RECORDED = read_json(FILE)
AGAIN = "renew the record: python -m sleepy.exam.strata"


def test_the_record_is_of_the_sets_as_they_are() -> None:
    for name in SETS:
        tasks, recorded = frozen(name), RECORDED["sets"][name]
        assert recorded["digest"] == tasks.digest, AGAIN
        assert list(recorded["strata"]) == sorted(t.id for t in tasks)
        assert {stratum_of(t.id) for t in tasks} == set(STRATA[:3])
    assert stratum_of("mine/own") == "unknown"


def judged(checker: Checker, koan: Task, broken: str, fix: str, *tests: str) -> str:
    task = Task(**{**vars(koan), "broken": broken, "fix": fix, "tests": tests})
    return strata([task], checker)[task.id]


def test_a_stratum_is_what_a_copy_or_the_suggestions_pass(checker: Checker, koan: Task) -> None:
    moved = "pub fn f(v: Vec<u8>) -> usize {\n    let w = v;\n    v.len() + w.len()\n}\n"
    cloned = moved.replace("= v;", "= v.clone();")
    assert judged(checker, koan, moved, cloned, "assert_eq!(f(vec![1]), 2);") == SHOWN
    assert judged(checker, koan, moved, cloned, "assert_eq!(f(vec![1]), 3);") == NEITHER  # it compiles, and is wrong
    # the prompt shows the first error's name, rustc sees the move only when names are right
    both = f"pub fn g() -> HashMap<u8, u8> {{\n    Default::default()\n}}\n{moved}"
    assert judged(checker, koan, both, both, "assert_eq!(f(vec![1]), 2);") == SUGGESTED


def test_a_copy_is_indented_and_may_be_several_lines(checker: Checker) -> None:
    program = "pub mod m {\n    pub fn g() -> HashMap<u8, u8> {\n        HashMap::new()\n    }\n}\n"
    text = copied(program, short_message(checker.check(program, (), "2021").diagnostics, program))
    assert checker.check(text, (), "2021").compiles and "    use std::collections::HashMap;\n" in text
    assert copied("  a\nb\n", "  line 1: `no help`\n    line 1: `x`\n    line 1: `y`") == "  x\nb\n"


@pytest.mark.slow
def test_a_tenth_of_the_recorded_strata_is_right(cache: Path, testrun_uid: str) -> None:
    """Another tenth in every run; the message says how to repeat one."""
    if RECORDED["rustc"] != toolchain().version.splitlines()[0]:
        pytest.skip(f"another compiler suggests otherwise; the record is of {RECORDED['rustc']}")
    draw, checker = Random(f"{digest_of(RECORDED)} {testrun_uid}"), Bwrap().open(cache)
    for name in SETS:
        chosen = draw.sample(frozen(name).tasks, len(frozen(name)) // 10)
        wrong = {t: s for t, s in strata(chosen, checker).items() if s != stratum_of(t)}
        assert not wrong, f"{AGAIN}; drawn again by: python -m pytest --testrunuid={testrun_uid} {Path(__file__).name}"


@pytest.mark.nightly
def test_all_recorded_strata_are_right(cache: Path) -> None:
    if RECORDED["rustc"] != toolchain().version.splitlines()[0]:
        pytest.skip(f"another compiler suggests otherwise; the record is of {RECORDED['rustc']}")
    assert recorded_strata(Bwrap().open(cache)) == RECORDED, AGAIN
