"""A model, a task, the compiler: what is scored and what is not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from sleepy.artifacts import BaseModel, Check, Completion, Prompt, Served, Task, TaskSet
from sleepy.engines.engine import NONE_KNOWN, Done, Known, ignore
from sleepy.engines.llama_cpp import LlamaCpp
from sleepy.errors import EngineError
from sleepy.evaluate.harness import Examination
from sleepy.evaluate.metrics import summary
from sleepy.evaluate.scores_file import read_scores, write_scores
from sleepy.repair.best_of_n import BestOfN
from sleepy.repair.ensemble import Ensemble
from sleepy.repair.multi_turn import MultiTurn
from sleepy.repair.single_shot import SingleShot
from sleepy.repair.strategy import Strategy
from sleepy.results import Attempt
from sleepy.rust.messages import short_message
from sleepy.sandbox.checker import Checker
from tests.repair.recorded import Recorded, served


def test_scores_of_a_real_model(smollm2: BaseModel, checker: Checker, koan: Task, tmp_path: Path) -> None:
    model = Served("smollm2", smollm2.gguf, smollm2.weights, smollm2.digest)
    given = replace(koan, id="given", broken=koan.fix)  # the answer stands in the question: copying it passes
    tasks = TaskSet("two", "1", (koan, given))
    scores = Examination(LlamaCpp(threads=1), SingleShot(), checker).run(model, tasks)
    first, second = scores.results
    assert first.attempts[0].program and second.attempts[0].prompt_tokens > 100
    figures = summary(scores)
    assert (
        figures["pass_rate"] == figures["family/borrow_checker/pass_rate"] == sum(r.passed for r in scores.results) / 2
    )
    write_scores(tmp_path / "s.json", scores)
    assert read_scores(tmp_path / "s.json") == scores


def test_a_broken_engine_is_not_a_failed_koan(checker: Checker, koan: Task, tmp_path: Path) -> None:
    with pytest.raises(EngineError):
        Examination(LlamaCpp(), SingleShot(), checker).run(
            Served("m", tmp_path / "no.gguf", tmp_path, "d"), TaskSet("t", "1", (koan,))
        )


def test_every_attempt_is_judged_and_recorded_as_soon_as_it_is_there(koan: Task, checker: Checker) -> None:
    first = koan.fix.replace("words.len())", "word.len())")
    wrong = koan.fix.replace("let n = total(&words);", "let n = 1 + total(&words);")
    engine, seen = Recorded([first, koan.fix, wrong]), []

    def record(task: Task, number: int, prompt: Prompt, attempt: Attempt, before: Check, after: Check) -> None:
        assert prompt == engine.asked[-1]
        seen.append((task.id, number, attempt.stage, before.codes, after.stage))

    tasks = TaskSet("two", "1", (koan, replace(koan, id="second"), replace(koan, id="third")))
    done: list[int] = []
    with pytest.raises(EngineError, match="no more answers"):
        Examination(engine, MultiTurn(), checker, record=record).run(served(), tasks, lambda: done.append(len(seen)))
    assert seen == [
        (koan.id, 0, "compile", ("E0382",), "compile"),
        (koan.id, 1, "passed", ("E0425",), "passed"),
        ("second", 0, "test", ("E0382",), "test"),
    ]
    assert done == [2, 3]  # the third task is not done
    seen.clear()
    engine = Recorded([first, wrong])
    Examination(engine, MultiTurn(), checker, record=record).run(served(), TaskSet("one", "1", (koan,)))
    assert seen[1] == (koan.id, 1, "test", ("E0425",), "test")


def test_an_answer_that_was_cut_is_an_attempt_that_was_cut(koan: Task, checker: Checker) -> None:
    class Cutting(Recorded):
        def generate(
            self, prompts: Sequence[Prompt], done: Done = ignore, known: Known = NONE_KNOWN
        ) -> list[Completion]:
            return super().generate(prompts, lambda place, answer: done(place, replace(answer, cut=True)), known)

    tasks = TaskSet("one", "1", (koan,))
    (result,) = Examination(Cutting([koan.fix]), SingleShot(), checker).run(served(), tasks).results
    assert result.passed and result.attempts[0].cut


def test_answers_may_come_in_any_order(koan: Task, checker: Checker) -> None:
    class Backwards(Recorded):
        def generate(
            self, prompts: Sequence[Prompt], done: Done = ignore, known: Known = NONE_KNOWN
        ) -> list[Completion]:
            found = super().generate(prompts)
            for place in reversed(range(len(prompts))):
                done(place, found[place])
            return found

    wrong = koan.fix.replace("let n = total(&words);", "let n = 1 + total(&words);")
    tasks = TaskSet("two", "1", (koan, replace(koan, id="second")))
    engine = Backwards([koan.broken, koan.fix, wrong, koan.fix])
    one, two = Examination(engine, BestOfN(n=2), checker).run(served(), tasks).results
    assert [a.stage for a in one.attempts] == ["compile", "passed"] and (one.chosen, one.passed) == (1, True)
    assert [a.stage for a in two.attempts] == ["test", "passed"] and (two.chosen, two.passed) == (0, False)


def test_a_route_names_the_adapter_unless_the_strategy_does(koan: Task, checker: Checker) -> None:
    def asked(repair: Strategy) -> list[str]:
        engine = Recorded([koan.fix] * 2)
        asks = Examination(engine, repair.serving(["a", "b"]), checker, lambda task, broken: "b")
        asks.run(served("a", "b"), TaskSet("t", "1", (koan,)))
        return [p.adapter for p in engine.asked]

    assert asked(SingleShot()) == ["b"] and asked(Ensemble()) == ["a", "b"]


def test_the_prompt_shows_program_purpose_and_a_short_message(checker: Checker, koan: Task) -> None:
    broken = checker.check(koan.broken, (), koan.edition)
    prompt = SingleShot().first(koan, broken)
    user = prompt.messages[1]["content"]
    assert koan.broken.strip() in user and koan.description in user and "error[E0382]: borrow of moved value" in user
    assert not any(block in user for block in koan.tests)
    full = SingleShot(diagnostics="full").first(koan, broken).messages[1]["content"]
    assert " --> main.rs:7:" in full and len(short_message(broken.diagnostics, koan.broken)) < len(
        broken.diagnostics[0].rendered
    )


def test_what_is_taught_is_what_is_read_back(koan: Task) -> None:
    repair = SingleShot()
    answer = repair.answer(koan.fix)
    assert answer.endswith("\n```") and repair.program(answer.removesuffix("\n```")) == koan.fix
