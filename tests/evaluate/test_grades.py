"""What an answer achieved besides passing."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from sleepy.artifacts import BaseModel, Task, TaskSet
from sleepy.evaluate.candidates import Base
from sleepy.evaluate.grades import grades, regraded
from sleepy.evaluate.harness import Examination
from sleepy.evaluate.metrics import summary
from sleepy.evaluate.scores_file import read_scores, write_scores
from sleepy.repair.best_of_n import BestOfN
from sleepy.repair.single_shot import SingleShot
from sleepy.results import Scores
from sleepy.rust.escapes import escapes
from sleepy.sandbox.checker import Checker
from tests.evaluate.test_examiner import examiner
from tests.repair.recorded import Recorded, repaired, served

NEW = ("blocks", "tests", "edited", "unsafe")  # what an attempt did not have at first


def of_answers(koan: Task, checker: Checker, *answers: str) -> tuple[Scores, TaskSet]:
    tasks = TaskSet("t", "1", tuple(replace(koan, id=str(i)) for i in range(len(answers))))
    return Examination(Recorded(list(answers)), SingleShot(), checker).run(served(), tasks), tasks


@pytest.fixture
def answers(koan: Task) -> list[str]:
    """One that is the broken program but for comments and white space, one that passes the second of two blocks only,
    one that passes the first only, one that passes, one that passes with what the fix does without."""
    second_only = koan.fix.replace("let n = total(&words);", "let n = total(&words) + words.len();")
    first_only = koan.fix.replace("let n = total(&words);", "let n = 3 + 0 * total(&words);")
    leaking = koan.fix.replace("let n = total(&words);", "let n = total(Vec::leak(words.clone()));")
    return ["// as it was\n" + koan.broken.replace("    ", "\t"), second_only, first_only, koan.fix, leaking]


def test_the_figures_say_how_far_answers_come(koan: Task, checker: Checker, answers: list[str]) -> None:
    scores, _ = of_answers(koan, checker, *answers)
    ends = [r.attempts[0] for r in scores.results]
    assert [(e.stage, e.blocks, e.tests) for e in ends] == [
        ("compile", 0, 2), ("test", 0, 2), ("test", 1, 2), ("passed", 2, 2), ("passed", 2, 2),
    ]  # fmt: skip
    assert [e.edited for e in ends] == [False, True, True, True, True]
    assert [e.unsafe for e in ends] == [False, False, False, False, True]
    expected = {"edited": 4 / 5, "blocks": (0 + 0 + 1 + 2 + 2) / 2 / 5, "unsafe_answers": 1, "unsafe_passes": 1}
    assert grades(scores) == pytest.approx(expected) and expected.items() <= summary(scores).items()


def test_they_are_those_of_the_answer_that_was_chosen(koan: Task, checker: Checker) -> None:
    result, _ = repaired(koan, checker, BestOfN(n=2), koan.broken, koan.fix)
    assert result.chosen == 1
    assert grades(Scores("t", "d", "m", "e", (result,), 1.0))["edited"] == 1


def test_rustc_s_own_answers_are_graded_too(koan: Task, checker: Checker, tmp_path: Path) -> None:
    scores = examiner(tmp_path, checker, []).rustfix(TaskSet("t", "1", (koan,)))
    assert grades(scores) == {"edited": 1, "blocks": 1, "unsafe_answers": 0, "unsafe_passes": 0}


def test_an_escape_counts_where_the_reference_does_without(koan: Task) -> None:
    with_unsafe = koan.fix + "pub fn f() -> u8 { unsafe { std::mem::transmute(1i8) } }\n"
    assert escapes(with_unsafe, koan.fix) and not escapes(with_unsafe, with_unsafe)
    assert escapes(with_unsafe + "pub fn g(s: String) { std::mem::forget(s) }", with_unsafe)
    assert not escapes(koan.fix + '// unsafe\npub const N: &str = "leak, forget";', koan.fix)


def without(scores: Scores, *names: str) -> str:
    """The file of an earlier version, which did not note `names` of an attempt."""
    record = asdict(scores)
    for result in record["results"]:
        for attempt in result["attempts"]:
            for name in names:
                del attempt[name]
    return json.dumps(record)


def test_scores_of_an_earlier_version_are_read_and_completed_where_that_is_possible(
    koan: Task, checker: Checker, answers: list[str], tmp_path: Path
) -> None:
    scores, tasks = of_answers(koan, checker, *answers)
    old = tmp_path / "old.json"
    old.write_text(without(scores, *NEW))
    read = read_scores(old)
    assert grades(read) == {} and summary(read)["pass_rate"] == 2 / 5
    found = regraded(read, tasks)
    assert [r.attempts[0].blocks for r in found.results] == [0, None, None, 2, 2]  # how far the tests came is not known
    assert grades(found) == {name: value for name, value in grades(scores).items() if name != "blocks"}
    write_scores(tmp_path / "new.json", scores)
    assert regraded(read_scores(tmp_path / "new.json"), tasks) == scores


def test_a_baseline_that_lies_in_the_cache_stays_one(koan: Task, checker: Checker, tmp_path: Path) -> None:
    tasks, base = TaskSet("t", "1", (koan,)), Base(BaseModel("m", Path(), Path(), Path(), "d"))
    first = examiner(tmp_path, checker, [koan.fix]).measure(base, tasks)
    (kept,) = (tmp_path / "known").iterdir()
    kept.write_text(without(first.scores, *NEW))
    again = examiner(tmp_path, checker, []).measure(base, tasks)
    assert again.cached and again.scores == first.scores
