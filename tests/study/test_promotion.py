"""A result replaces the adapter in use only when the gate accepts it beside that one, too, on the same koans."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from sleepy.artifacts import Adapter, BaseModel, TaskSet
from sleepy.evaluate.candidates import Adapted, Base, Measured
from sleepy.gate.no_loss import NoLoss
from sleepy.results import Attempt, Result, Scores
from sleepy.study.promotion import promote, to_repair_with
from sleepy.track.mlflow import Mlflow
from sleepy.track.run import Run
from sleepy.track.tracker import Tracker
from tests.adapters.made import random_adapter, tiny_base


def scores(passed: int) -> Scores:
    """So many of ten koans passed."""
    attempts = (Attempt("", str(passed), "passed", (), 1, 1, 0.0),)
    results = tuple(Result(f"k{i}", "f", "p", 1, i < passed, attempts) for i in range(10))
    return Scores("k", "d", "m", "e", results, 0.0)


@dataclass
class Measuring:
    """What `promote` uses of a Lab; `passes` says how many koans each adapter passes, by digest."""

    tracker: Tracker
    run: Run
    base: BaseModel
    passes: dict[str, int]
    gate: NoLoss = field(default_factory=NoLoss)
    panel: TaskSet = field(default_factory=lambda: TaskSet("k", "1", ()))
    measured: list[str] = field(default_factory=list)

    def measure(self, candidate: Adapted, tasks: TaskSet, stage: str) -> Measured[Adapted]:
        assert tasks is self.panel
        self.measured.append(stage)
        return Measured(candidate, scores(self.passes[candidate.adapter.digest]))


def test_a_worse_one_does_not_replace_a_better_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base, tracker = tiny_base(tmp_path / "base"), Mlflow(folder=str(tmp_path / "store")).open()
    adapters = [random_adapter(base, tmp_path / f"a{i}", seed=i) for i in range(5)]
    passes = dict(zip([a.digest for a in adapters], (5, 3, 6, 1, 7), strict=True))
    ids = []

    def offer(adapter: Adapter, beside: bool = True, meanwhile: Any = None) -> Measuring:
        with tracker.run(name="r", tags={}) as run:
            run.artifact(adapter.folder, "adapter")
            ids.append(run.id)
            lab: Any = Measuring(tracker, run, base, passes)
            untouched = Measured(Base(base), scores(0))
            verdict = lab.gate.judge(untouched, lab.measure(Adapted(base, adapter), lab.panel, "gate"))
            assert verdict.promoted
            lab.measured.clear()
            if meanwhile:
                measure, lab.measure = lab.measure, lambda *words: (meanwhile(), measure(*words))[1]
            promote(lab, verdict, PurePosixPath("adapter"), beside=beside)
        return lab

    def in_use() -> str:
        promoted = tracker.promoted(f"sleepy-{base.name}")
        return promoted.run_id if promoted else ""

    assert to_repair_with(tracker, base) == Base(base)
    assert not offer(adapters[0]).measured and in_use() == ids[0]  # nothing was in use
    assert offer(adapters[1]).measured == ["in use", "gate"] and in_use() == ids[0]
    assert (
        f"run {ids[0]} stays in use: compared with it, this one is refused: 0 fixes, 2 regr" in capsys.readouterr().err
    )
    assert offer(adapters[2]).measured == ["in use", "gate"] and in_use() == ids[2]
    assert to_repair_with(tracker, base).digest == Adapted(base, adapters[2]).digest
    assert not offer(adapters[2]).measured and in_use() == ids[2]  # the same once more
    assert not offer(adapters[3], beside=False).measured and in_use() == ids[4]
    # another job promotes a better one while this one is compared with the adapter in use: it is compared again
    once = iter([lambda: offer(adapters[4], beside=False)])
    lab = offer(adapters[2], meanwhile=lambda: next(once, lambda: None)())
    assert lab.measured == ["in use", "gate", "in use", "gate"] and in_use() == ids[-1] != ids[-2]
    promoted = tracker.promoted(f"sleepy-{base.name}")
    assert promoted is not None
    (promoted.source / "adapter_model.safetensors").unlink()
    assert not offer(adapters[1]).measured and in_use() == ids[-1]
    assert "is replaced: " in capsys.readouterr().err
