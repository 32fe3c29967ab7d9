"""What a run may take, from earlier ones."""

from __future__ import annotations

from typing import Any

import pytest

from sleepy.progress import Stages, spoken
from sleepy.track.times import Asks, expected

OURS = {
    "env.cpu": "x", "model.name": "m", "stream._target_": "sleepy.study.single.Single", "algo._target_": "sft",
    "train.steps": "16", "train.epochs": "0", "train.batch_size": "4", "train.grad_accum": "1", "data.examples": "20",
    "tasks.name": "mini", "lora.r": "8", "seed": "0",
}  # fmt: skip
TIMES = {"seconds/fetch": 3, "seconds/baseline": 1, "seconds/train": 60, "seconds/evaluate": 22, "seconds/gate": 9}
FIGURES = {"baseline/seconds": 40, "baseline/tasks": 20, "eval/seconds": 20, "eval/tasks": 20}


def ran(name: str, at: int = 0, figures: dict[str, float] | None = None, **params: str) -> Any:
    """A finished run."""
    from mlflow.entities import Metric, Param, Run, RunData, RunInfo

    info = RunInfo(name, "0", "u", "FINISHED", at, at + 1, "active", "")
    found = {**TIMES, **FIGURES} if figures is None else figures
    changed = {**OURS, **{key.replace("__", "."): value for key, value in params.items()}}
    metrics = [Metric(key, value, 0, 0) for key, value in found.items()]
    return Run(info, RunData(metrics, [Param(key, text) for key, text in changed.items()]))


def test_koans_and_pairs_scale_and_the_rest_is_as_it_was() -> None:
    found = expected(OURS, [ran("a", tasks__name="other", train__steps="8")], Asks(40, 10))
    assert found is not None and found.run == "a"
    # the baseline by what the answers took (40 s for 20 koans), not by the second that the cache took
    assert found.seconds == {"fetch": 3, "baseline": 80, "train": 120, "evaluate": 40, "gate": 10}
    epochs = {**OURS, "train.epochs": "2"}  # twice 20 pairs, not 16 steps of 4
    train = expected(epochs, [ran("a")], Asks(20, 10))
    assert train is not None and train.seconds["train"] == pytest.approx(60 * 40 / 64)


def test_what_is_in_the_cache_takes_no_time() -> None:
    rank = expected(OURS, [ran("a", lora__r="4")], Asks(20, 9))
    same = expected(OURS, [ran("a", report__dpi="90")], Asks(20, 9))
    assert rank is not None and rank.seconds == {"fetch": 3, "train": 60, "evaluate": 20, "gate": 9}
    assert same is not None and same.seconds == {"fetch": 3, "train": 60}


def test_the_most_similar_run_counts_then_the_newest() -> None:
    near, far, newer = ran("near", lora__r="4"), ran("far", lora__r="4", seed="1"), ran("newer", at=9, lora__r="16")
    for runs, wanted in (([far, near], "near"), ([near, newer, far], "newer")):
        found = expected(OURS, runs, Asks(20, 9))
        assert found is not None and found.run == wanted


@pytest.mark.parametrize(
    "other",
    [
        {"stages": "[prove]"},
        {"env__cpu": "y"},
        {"model__name": "n"},
        {"algo___target_": "grpo"},
        {"figures": {}},
        {"figures": {**TIMES, **FIGURES, "train/resumed": 8}},
    ],
)
def test_of_another_machine_model_or_algorithm_or_half_a_training_nothing_is_known(other: Any) -> None:
    assert expected(OURS, [ran("a", **other)], Asks(20, 9)) is None


def test_what_is_left_falls_as_stages_end(capsys: pytest.CaptureFixture[str]) -> None:
    watch = Stages()
    with watch.stage("fetch"):
        assert watch.left == 0
    assert "left" not in capsys.readouterr().err
    watch.expect({"baseline": 100, "train": 140}, repeat=False)
    with watch.stage("baseline"):
        assert watch.left == 240
    assert "job: 4 min left" in capsys.readouterr().err
    assert watch.left == 140  # faster than expected: nothing of it is to come
    watch.expect({"train": 140}, repeat=True)
    with watch.stage("train"):
        pass
    assert 139 < watch.left < 140


def test_times_are_said_as_people_do() -> None:
    assert [spoken(s) for s in (12.4, 89, 90, 5399, 9000)] == ["12 s", "89 s", "2 min", "90 min", "2.5 h"]
