"""A result replaces the adapter in use only when the gate accepts it beside that one, too."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from sleepy.artifacts import Adapter, BaseModel, Result, Scores, TaskSet
from sleepy.gate.no_loss import NoLoss
from sleepy.study.in_use import promote
from sleepy.track.mlflow import Mlflow
from sleepy.track.run import Run
from sleepy.track.tracker import Tracker
from tests.adapters.made import random_adapter, tiny_base


def scores(passed: int) -> Scores:
    """So many of ten koans passed."""
    results = tuple(Result(f"k{i}", "f", "p", 1, i < passed, ()) for i in range(10))
    return Scores("k", "d", "m", "e", results, 0.0)


@dataclass
class Measuring:
    """What `promote` uses of a Learner; `passes` says how many koans each adapter passes, by digest."""

    tracker: Tracker
    tracked: Run
    base: BaseModel
    passes: dict[str, int]
    exam: TaskSet
    measured: list[str] = field(default_factory=list)

    def measure(self, tasks: TaskSet, adapter: Adapter, stage: str) -> Scores:
        self.measured.append(stage)
        return scores(self.passes[adapter.digest])


def test_a_worse_one_does_not_replace_a_better_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base, tracker = tiny_base(tmp_path / "base"), Mlflow(folder=str(tmp_path / "store")).open()
    adapters = [random_adapter(base, tmp_path / f"a{i}", seed=i) for i in range(4)]
    passes = dict(zip([a.digest for a in adapters], (5, 3, 5, 0), strict=True))
    gate, ids = NoLoss(), []

    def offer(adapter: Adapter, gate: Any = gate) -> Measuring:
        with tracker.run(name="r", tags={}) as run:
            run.artifact(adapter.folder, "adapter")
            learner: Any = Measuring(tracker, run, base, passes, TaskSet("k", "1", ()))
            promote(learner, gate, adapter, scores(passes[adapter.digest]), Path("adapter"))
        ids.append(run.id)
        return learner

    def in_use() -> str:
        promoted = tracker.promoted(f"sleepy-{base.name}")
        return promoted.run_id if promoted else ""

    assert not offer(adapters[0]).measured and in_use() == ids[0]  # nothing was in use
    assert offer(adapters[1]).measured == ["in use"] and in_use() == ids[0]
    assert f"run {ids[0]} stays in use: beside it this one is refused: 0 fixes, 2 regr" in capsys.readouterr().err
    assert offer(adapters[2]).measured == ["in use"] and in_use() == ids[2]
    assert not offer(adapters[2]).measured and in_use() == ids[3]  # the same once more
    assert not offer(adapters[3], gate=None).measured and in_use() == ids[4]
    promoted = tracker.promoted(f"sleepy-{base.name}")
    assert promoted is not None
    (promoted.source / "adapter_model.safetensors").unlink()
    assert not offer(adapters[1]).measured and in_use() == ids[5]
    assert "is replaced: " in capsys.readouterr().err
