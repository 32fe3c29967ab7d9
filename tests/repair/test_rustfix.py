"""Repair with rustc's own suggestions: alone, and before a model is asked."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from sleepy.artifacts import Check, Task, TaskSet
from sleepy.errors import ConfigError, EngineError
from sleepy.evaluate.harness import Examination
from sleepy.evaluate.nobody import NoEngine
from sleepy.repair.best_of_n import BestOfN
from sleepy.repair.multi_turn import MultiTurn
from sleepy.repair.rustfix import Rustfix
from sleepy.repair.single_shot import SingleShot
from sleepy.sandbox.checker import Checker
from tests.jobs import chosen
from tests.repair.recorded import Recorded, repaired, served

# rustc says what to do about the first error; the second one, which it sees then, it only names.
TWO = """pub fn count(words: Vec<String>) -> usize {
    let kinds: HashSet<String> = words.into_iter().collect();
    kinds.len() + "1"
}
"""


@pytest.fixture
def half(koan: Task) -> Task:
    fix = "use std::collections::HashSet;\n\n" + TWO.replace('"1"', "1")
    return replace(koan, id="half", code="E0425", broken=TWO, fix=fix, tests=("assert_eq!(count(vec![]), 1);",))


def test_no_model_is_asked_and_every_hidden_test_counts(koan: Task, checker: Checker, half: Task) -> None:
    wrong = replace(koan, id="wrong", tests=('assert_eq!(report(vec![]), "1 chars");',))
    tasks, done = TaskSet("three", "1", (koan, wrong, half)), []
    scores = Examination(NoEngine(), Rustfix(), checker).run(served(), tasks, lambda: done.append(1))
    ends = [(r.passed, [a.stage for a in r.attempts], r.within, r.chosen) for r in scores.results]
    assert ends[:2] == [(True, ["passed"], (True,), 0), (False, ["test"], (False,), 0)] and not ends[2][0]
    assert "total(words.clone());" in scores.results[0].attempts[0].program and len(done) == 3
    assert scores.engine == "none" and scores.results[0].attempts[0].prompt_tokens == 0
    with pytest.raises(EngineError, match="asks no model"):
        Examination(NoEngine(), SingleShot(), checker).run(served(), tasks)


def test_what_suggestions_repair_is_not_asked(koan: Task, checker: Checker) -> None:
    result, asked = repaired(koan, checker, SingleShot(rustfix_first=True))
    assert asked == [] and result.passed and result.steps == 1
    assert repaired(koan, checker, SingleShot(), koan.fix)[1]


def test_the_model_sees_what_is_left(checker: Checker, half: Task) -> None:
    for repair in (SingleShot(rustfix_first=True), MultiTurn(rustfix_first=True), BestOfN(n=2, rustfix_first=True)):
        result, asked = repaired(half, checker, repair, half.fix, half.fix)
        user = asked[0].messages[1]["content"]
        assert "use std::collections::HashSet;" in user and "E0277" in user and "cannot find" not in user
        assert "use std" in asked[0].copy_from and result.passed
    turns, asked = repaired(half, checker, MultiTurn(rustfix_first=True), asked[0].copy_from.removesuffix("\n```"))
    assert len(asked) == 1 and not turns.passed  # it gave back what it was shown


def test_what_was_shown_is_recorded_as_what_was_before(checker: Checker, half: Task, koan: Task) -> None:
    seen: list[tuple[str, str, tuple[str, ...]]] = []

    def record(task: Task, number: int, prompt: object, attempt: object, before: Check, after: Check) -> None:
        seen.append((task.id, task.broken, before.codes))

    asks = Examination(Recorded([half.fix]), SingleShot(rustfix_first=True), checker, record=record)
    asks.run(served(), TaskSet("two", "1", (koan, half)))
    assert seen == [("half", half.broken, ("E0277",))]  # no model made the first task's attempt


def test_it_is_measured_and_repairs_but_nothing_is_trained_for_it(tmp_path: Path, koan: Task) -> None:
    from sleepy.preflight import check, planned

    settings = chosen("repair=rustfix")
    with pytest.raises(ConfigError, match="asks no model"):
        check(settings, planned(settings.stages), {"engine": "llama_cpp"}, settings.track.open())
    with pytest.raises(ConfigError, match="asks no model"):
        Rustfix().first(koan, Check("compile", ""))
    check(settings, planned(["fetch", "prove", "baseline"]), {"engine": "llama_cpp"}, settings.track.open())
