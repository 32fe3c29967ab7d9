"""A candidate is measured once for everything that determines its scores."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sleepy.artifacts import BaseModel, Check, Task, TaskSet
from sleepy.evaluate.candidates import Adapted, Base, Exported, Routed
from sleepy.evaluate.examiner import Examiner
from sleepy.progress import Stages
from sleepy.repair.single_shot import SingleShot
from sleepy.routing.oracle import Oracle
from sleepy.sandbox.checker import Checker
from tests.adapters.made import random_adapter, tiny_base
from tests.repair.recorded import Recorded


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> BaseModel:
    return tiny_base(tmp_path_factory.mktemp("base") / "qwen2")


def examiner(folder: Path, checker: Any, answers: list[str], **options: Any) -> Examiner:
    return Examiner(
        engine=Recorded(answers), repair=SingleShot(**options), judge=checker, known=folder / "known",
        episodes=folder / "episodes.db", run="r", scratch=folder / "scratch", stages=Stages(),
    )  # fmt: skip


def test_it_is_asked_once_for_everything_that_determines_the_answer(
    base: BaseModel, checker: Checker, koan: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks = TaskSet("t", "1", (koan,))
    asks = examiner(tmp_path, checker, [koan.fix] * 9)
    first = asks.measure(Base(base), tasks)
    assert not first.cached and first.scores.pass_rate == 1 and first.candidate == Base(base)
    again = asks.measure(Base(base), tasks)
    assert again.cached and again.scores == first.scores
    adapter = random_adapter(base, tmp_path / "a")
    changed = [
        (asks, Base(replace(base, digest="other")), tasks),
        (asks, Adapted(base, adapter), tasks),
        (asks, Base(base), TaskSet("t", "1", (replace(koan, tests=("assert!(true);",)),))),
        (examiner(tmp_path, checker, [koan.fix], ask="Please."), Base(base), tasks),
    ]
    assert [e.measure(c, t).cached for e, c, t in changed] == [False] * 4
    # a word of the prompt that no option names
    monkeypatch.setattr("sleepy.repair.asking._shows", lambda task, program: f"Here: {program}")
    assert not asks.measure(Base(base), tasks).cached
    assert not list((tmp_path / "scratch").iterdir())  # adapters are files only while they are asked


def test_scores_that_the_load_may_have_spoiled_are_not_kept(
    base: BaseModel, checker: Checker, koan: Task, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    class Loaded:
        identity = "loaded"

        def check(self, *job: Any) -> Check:
            found = checker.check(*job)
            return replace(found, stage="test", timed_out=True) if found.passed else found

        def check_all(self, jobs: Any) -> list[Check]:
            return [self.check(*job) for job in jobs]

    asks = examiner(tmp_path, Loaded(), [koan.fix] * 2)
    tasks = TaskSet("t", "1", (koan,))
    assert [asks.measure(Base(base), tasks).cached for _ in range(2)] == [False, False]
    assert f"Scores not cached: {koan.id} may have timed out" in capsys.readouterr().err


def test_scores_of_weights_that_nobody_knows_are_neither_kept_nor_believed(
    base: BaseModel, checker: Checker, koan: Task, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from sleepy.engines.openai import OpenAI

    assert not OpenAI.known_weights
    tasks, asks = TaskSet("t", "1", (koan,)), examiner(tmp_path, checker, [koan.fix, koan.broken, koan.fix])
    asks.engine.known_weights = False
    found = [asks.measure(Base(base), tasks) for _ in range(2)]  # another model is there the second time
    assert [(m.cached, m.scores.pass_rate) for m in found] == [(False, 1), (False, 0)]
    assert capsys.readouterr().err.count("Scores not cached: which weights the server has is not known") == 1
    asks.engine.known_weights = True
    assert not asks.measure(Base(base), tasks).cached


def test_digests_tell_candidates_apart(base: BaseModel, tmp_path: Path, koan: Task) -> None:
    from sleepy.artifacts import GgufFile

    one, two = (random_adapter(base, tmp_path / str(i), seed=i) for i in range(2))
    pairs = TaskSet("pairs", "1", (koan,))
    found = [
        Base(base), Adapted(base, one), Adapted(base, two), Routed(base, {"a": one, "b": two}, Oracle(), pairs),
        Routed(base, {"a": two, "b": one}, Oracle(), pairs),
        Exported(base, GgufFile(tmp_path, "q8_0", "f" * 64, 1), Adapted(base, one)),
    ]  # fmt: skip
    assert len({c.digest for c in found}) == len(found)
    assert found[0].digest == base.digest and list(found[1].adapters.values()) == [one] and not found[5].adapters
