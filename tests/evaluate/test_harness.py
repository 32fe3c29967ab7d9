"""A model, a task, the compiler: what is scored and what is not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from sleepy.artifacts import BaseModel, Scores, Served, Task, TaskSet
from sleepy.engines.llama_cpp import LlamaCpp
from sleepy.errors import EngineError
from sleepy.evaluate.harness import cached, evaluate, read_scores, write_scores
from sleepy.evaluate.metrics import summary
from sleepy.repair._strategy import short_message
from sleepy.repair.single_shot import SingleShot
from sleepy.sandbox._sandbox import Checker


def test_scores_of_a_real_model(smollm2: BaseModel, checker: Checker, koan: Task, tmp_path: Path) -> None:
    served = Served("smollm2", smollm2.gguf, smollm2.weights, smollm2.digest)
    given = replace(koan, id="given", broken=koan.fix)  # the answer stands in the question: copying it passes
    tasks = TaskSet("two", "1", (koan, given))
    scores = evaluate(served, tasks, LlamaCpp(), SingleShot(), checker)
    first, second = scores.results
    assert first.attempts[0].stage in ("compile", "test", "passed") and second.attempts[0].prompt_tokens > 100
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

    served, tasks = Served("m", Path(), Path(), "digest"), TaskSet("t", "1", (koan,))
    variants = [(served, tasks, LlamaCpp(), SingleShot()), (served, tasks, LlamaCpp(threads=7), SingleShot())]
    assert [cached(tmp_path, *v, checker, measure)[1] for v in variants] == [False, True]
    changed = [
        (replace(served, digest="other"), tasks, LlamaCpp(), SingleShot()),
        (served, TaskSet("t", "1", (replace(koan, tests=("assert!(true);",)),)), LlamaCpp(), SingleShot()),
        (served, tasks, LlamaCpp(context=512), SingleShot()),
        (served, tasks, LlamaCpp(), SingleShot(ask="Please.")),
    ]
    assert [cached(tmp_path, *v, checker, measure)[1] for v in changed] == [False] * 4 and len(asked) == 5


def test_a_broken_engine_is_not_a_failed_koan(checker: Checker, koan: Task, tmp_path: Path) -> None:
    with pytest.raises(EngineError):
        evaluate(
            Served("m", tmp_path / "no.gguf", tmp_path, "d"),
            TaskSet("t", "1", (koan,)),
            LlamaCpp(),
            SingleShot(),
            checker,
        )


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
