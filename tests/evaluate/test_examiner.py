"""A candidate is measured once for everything that determines its scores."""

from __future__ import annotations

import multiprocessing
import os
import re
import signal
import socket
import sqlite3
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sleepy.artifacts import BaseModel, Check, Completion, Prompt, Task, TaskSet
from sleepy.engines.engine import NONE_KNOWN, Done, Known, ignore
from sleepy.errors import EngineError
from sleepy.evaluate.candidates import Adapted, Base, Exported, Routed
from sleepy.evaluate.examiner import Examiner
from sleepy.progress import Stages
from sleepy.repair.multi_turn import MultiTurn
from sleepy.repair.single_shot import SingleShot
from sleepy.routing.oracle import Oracle
from sleepy.sandbox.bwrap import Bwrap
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
    monkeypatch.undo()
    monkeypatch.setattr("sleepy.evaluate.examiner.adapter_gguf", lambda *a: pytest.fail("an adapter was converted"))
    assert asks.measure(Adapted(base, adapter), tasks).cached  # what is known costs no conversion


def test_rustc_s_suggestions_are_measured_once_whatever_the_model(checker: Checker, koan: Task, tmp_path: Path) -> None:
    tasks = TaskSet("t", "1", (koan, replace(koan, id="b", tests=("assert!(false);",))))
    scores = examiner(tmp_path, checker, []).rustfix(tasks)  # an engine that would be asked is one that dies
    assert [r.passed for r in scores.results] == [True, False] and (scores.model, scores.engine) == ("rustc", "none")
    assert examiner(tmp_path, checker, [], ask="Please.").rustfix(tasks) == scores
    assert len(list((tmp_path / "known").iterdir())) == 1


def set_of(koan: Task, count: int) -> TaskSet:
    return TaskSet("t", "1", tuple(replace(koan, id=f"koan-{i}") for i in range(count)))


def killed_at_the_seventh(base: BaseModel, folder: Path, tasks: TaskSet, fix: str) -> None:
    class Dying(Recorded):
        def generate(self, prompts: Sequence[Prompt], done: Done = ignore, known: Known = NONE_KNOWN) -> Any:
            def told(place: int, answer: Completion) -> None:
                if place == 6:
                    os.kill(os.getpid(), signal.SIGKILL)
                done(place, answer)

            return super().generate(prompts, told, known)

    asks = examiner(folder, Bwrap().open(folder), [fix] * 9)
    replace(asks, engine=Dying([fix] * 9)).measure(Base(base), tasks)


def test_an_evaluation_that_was_killed_goes_on(
    base: BaseModel, checker: Checker, koan: Task, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tasks = set_of(koan, 8)
    child = multiprocessing.get_context("spawn").Process(
        target=killed_at_the_seventh, args=(base, tmp_path, tasks, koan.fix)
    )
    child.start()
    child.join()
    assert child.exitcode == -signal.SIGKILL
    (kept,) = (tmp_path / "known").glob("*.jsonl")
    with kept.open("a") as out:
        out.write('{"key": "torn')  # as a kill in the middle of a write leaves it
    asks = examiner(tmp_path, checker, [koan.fix])
    with pytest.raises(EngineError, match="no more answers"):
        asks.measure(Base(base), tasks)
    (kept,) = map(int, re.findall("interrupted evaluation, (.) ", capsys.readouterr().err))  # but for a few verdicts
    asks = examiner(tmp_path, checker, [*[koan.fix] * (6 - kept), koan.broken])
    scores = asks.measure(Base(base), tasks).scores
    assert 2 <= kept <= 6 and f"interrupted evaluation, {kept + 1} answers" in capsys.readouterr().err
    assert [r.passed for r in scores.results] == [True] * 7 + [False] and scores.seconds > (kept + 1) * 0.5
    assert [p.suffix for p in (tmp_path / "known").iterdir()] == [".json"]
    with closing(sqlite3.connect(tmp_path / "episodes.db")) as episodes:
        assert episodes.execute("select count(*), count(distinct task) from episodes").fetchone() == (8, 8)


def test_of_two_that_need_the_same_measurement_one_waits(
    base: BaseModel, checker: Checker, koan: Task, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    at_it, go_on = threading.Event(), threading.Event()

    class Slow(Recorded):
        def generate(self, prompts: Sequence[Prompt], done: Done = ignore, known: Known = NONE_KNOWN) -> Any:
            at_it.set()
            assert go_on.wait(20)
            return super().generate(prompts, done, known)

    tasks, other = set_of(koan, 1), set_of(koan, 2)
    first = replace(examiner(tmp_path, checker, []), engine=Slow([koan.fix]))
    second = examiner(tmp_path, checker, [koan.fix] * 2)  # enough for the other measurement, and no more
    with ThreadPoolExecutor(2) as threads:
        slow = threads.submit(first.measure, Base(base), tasks)
        assert at_it.wait(20)
        assert not second.measure(Base(base), other).cached  # nobody waits for another one's measurement
        waits = threads.submit(second.measure, Base(base), tasks)
        with pytest.raises(TimeoutError):
            waits.result(timeout=0.5)
        go_on.set()
        found = [slow.result(20), waits.result(20)]
    assert [m.cached for m in found] == [False, True] and found[0].scores == found[1].scores
    assert capsys.readouterr().err.count(f"waiting for process {os.getpid()} on {socket.gethostname()}") == 1
    assert {p.suffix for p in (tmp_path / "known").iterdir()} == {".json"}


def test_a_killed_conversation_begins_again_but_those_that_ended_do_not(
    base: BaseModel, checker: Checker, koan: Task, tmp_path: Path
) -> None:
    other = koan.fix.replace("words.len())", "word.len())")
    with pytest.raises(EngineError):
        measured(
            base, checker, tmp_path, koan, [other, koan.fix]
        )  # the second koan passes, the first needs another turn
    engine = measured(base, checker, tmp_path, koan, [other, koan.fix])
    assert len(engine.asked) == 2
    assert [other.strip() in prompt.messages[1]["content"] for prompt in engine.asked] == [False, True]


def measured(base: BaseModel, checker: Checker, folder: Path, koan: Task, answers: list[str]) -> Recorded:
    engine = Recorded(answers)
    asks = replace(examiner(folder, checker, []), engine=engine, repair=MultiTurn())
    asks.measure(Base(base), set_of(koan, 2))
    return engine


def test_scores_that_the_load_may_have_spoiled_are_not_kept_but_the_answers_are(
    base: BaseModel, checker: Checker, koan: Task, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    class Loaded:
        identity, busy = "loaded", True

        def check(self, *job: Any) -> Check:
            found = checker.check(*job)
            return replace(found, stage="test", timed_out=True) if found.passed and self.busy else found

        def check_all(self, jobs: Any) -> list[Check]:
            return [self.check(*job) for job in jobs]

    judge = Loaded()
    asks = examiner(tmp_path, judge, [koan.fix] * 2)  # and no third answer
    tasks = set_of(koan, 2)
    assert [asks.measure(Base(base), tasks).cached for _ in range(2)] == [False, False]
    assert "Scores not cached: koan-0, koan-1 may have timed out" in capsys.readouterr().err
    judge.busy = False
    assert asks.measure(Base(base), tasks).scores.pass_rate == 1
    assert asks.measure(Base(base), tasks).cached


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
