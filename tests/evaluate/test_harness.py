"""A model, a task, the compiler: what is scored and what is not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from sleepy.artifacts import Attempt, BaseModel, Check, Completion, Prompt, Result, Scores, Served, Task, TaskSet
from sleepy.engines.engine import Done, ignore
from sleepy.engines.llama_cpp import LlamaCpp
from sleepy.errors import EngineError
from sleepy.evaluate.harness import cached, evaluate, read_scores, write_scores
from sleepy.evaluate.metrics import summary
from sleepy.repair.best_of_n import BestOfN
from sleepy.repair.ensemble import Ensemble
from sleepy.repair.multi_turn import MultiTurn
from sleepy.repair.single_shot import SingleShot
from sleepy.repair.strategy import Strategy
from sleepy.rust.messages import short_message
from sleepy.sandbox.checker import Checker
from tests.repair.recorded import Recorded, served


def test_scores_of_a_real_model(smollm2: BaseModel, checker: Checker, koan: Task, tmp_path: Path) -> None:
    model = Served("smollm2", smollm2.gguf, smollm2.weights, smollm2.digest)
    given = replace(koan, id="given", broken=koan.fix)  # the answer stands in the question: copying it passes
    tasks = TaskSet("two", "1", (koan, given))
    scores = evaluate(model, tasks, LlamaCpp(threads=1), SingleShot(), checker)
    first, second = scores.results
    assert first.attempts[0].program and second.attempts[0].prompt_tokens > 100
    figures = summary(scores)
    assert (
        figures["pass_rate"] == figures["family/borrow_checker/pass_rate"] == sum(r.passed for r in scores.results) / 2
    )
    write_scores(tmp_path / "s.json", scores)
    assert read_scores(tmp_path / "s.json") == scores


def test_a_baseline_is_measured_once_for_everything_that_determines_it(
    checker: Checker, koan: Task, tmp_path: Path
) -> None:
    asked = []

    def measure() -> Scores:
        asked.append(1)
        return Scores("t", "d", "m", "llama_cpp", (), 0.0)

    model, tasks = Served("m", Path(), Path(), "digest"), TaskSet("t", "1", (koan,))
    variants = [(model, tasks, LlamaCpp(), SingleShot()), (model, tasks, LlamaCpp(threads=7), SingleShot())]
    assert [cached(tmp_path, *v, checker, measure)[1] for v in variants] == [False, True]
    changed = [
        (replace(model, digest="other"), tasks, LlamaCpp(), SingleShot()),
        (model, TaskSet("t", "1", (replace(koan, tests=("assert!(true);",)),)), LlamaCpp(), SingleShot()),
        (model, tasks, LlamaCpp(context=512), SingleShot()),
        (model, tasks, LlamaCpp(), SingleShot(ask="Please.")),
    ]
    assert [cached(tmp_path, *v, checker, measure)[1] for v in changed] == [False] * 4 and len(asked) == 5


@pytest.mark.parametrize("kept", [False, True])
def test_scores_that_hang_on_the_load_are_not_kept(kept: bool, checker: Checker, koan: Task, tmp_path: Path) -> None:
    def measure() -> Scores:
        attempt = Attempt("", "", "test", (), 1, 1, 0.0, by_load=not kept)
        return Scores("t", "d", "m", "llama_cpp", (Result("t", "f", "p", 1, False, (attempt,)),), 0.0)

    given = (Served("m", Path(), Path(), "digest"), TaskSet("t", "1", (koan,)), LlamaCpp(), SingleShot())
    assert [cached(tmp_path, *given, checker, measure)[1] for _ in range(2)] == [False, kept]


def test_a_broken_engine_is_not_a_failed_koan(checker: Checker, koan: Task, tmp_path: Path) -> None:
    with pytest.raises(EngineError):
        evaluate(
            Served("m", tmp_path / "no.gguf", tmp_path, "d"),
            TaskSet("t", "1", (koan,)),
            LlamaCpp(),
            SingleShot(),
            checker,
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
        evaluate(served(), tasks, engine, MultiTurn(), checker, lambda: done.append(len(seen)), record=record)
    assert seen == [
        (koan.id, 0, "compile", ("E0382",), "compile"),
        ("second", 0, "passed", ("E0382",), "passed"),
        ("third", 0, "test", ("E0382",), "test"),
    ]
    assert done == [2, 3]  # the first task is not done
    seen.clear()
    engine = Recorded([first, wrong])
    evaluate(served(), TaskSet("one", "1", (koan,)), engine, MultiTurn(), checker, record=record)
    assert seen[1] == (koan.id, 1, "test", ("E0425",), "test")


def test_answers_may_come_in_any_order(koan: Task, checker: Checker) -> None:
    class Backwards(Recorded):
        def generate(self, prompts: Sequence[Prompt], done: Done = ignore) -> list[Completion]:
            found = super().generate(prompts)
            for place in reversed(range(len(prompts))):
                done(place, found[place])
            return found

    wrong = koan.fix.replace("let n = total(&words);", "let n = 1 + total(&words);")
    tasks = TaskSet("two", "1", (koan, replace(koan, id="second")))
    engine = Backwards([koan.broken, koan.fix, wrong, koan.fix])
    one, two = evaluate(served(), tasks, engine, BestOfN(n=2), checker).results
    assert [a.stage for a in one.attempts] == ["compile", "passed"] and (one.chosen, one.passed) == (1, True)
    assert [a.stage for a in two.attempts] == ["test", "passed"] and (two.chosen, two.passed) == (0, False)


def test_a_route_names_the_adapter_unless_the_strategy_does(koan: Task, checker: Checker) -> None:
    def asked(repair: Strategy) -> list[str]:
        engine = Recorded([koan.fix] * 2)
        evaluate(served("a", "b"), TaskSet("t", "1", (koan,)), engine, repair, checker, route=lambda task, broken: "b")
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
