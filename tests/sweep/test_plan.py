"""What a job may take, from runs that are there."""

from __future__ import annotations

from typing import Any

import pytest
from omegaconf import OmegaConf

from sleepy.preflight import planned
from sleepy.settings import settings
from sleepy.sweep.jobs import Job
from sleepy.sweep.plan import Cost, expected, megabytes
from sleepy.track.run import params_of
from tests.jobs import composed


def job(*words: str) -> Job:
    config = composed(*words)
    s, resolved = settings(config), OmegaConf.to_container(config, resolve=True)
    assert isinstance(resolved, dict)
    return Job(words, s, planned(s.stages), {str(key): value for key, value in resolved.items()})


def ran(seconds: int, training: int, size: int, *words: str, at: int = 0) -> Any:
    """A finished run of these words."""
    from mlflow.entities import Metric, Param, Run, RunData, RunInfo

    info = RunInfo("id", "0", "u", "FINISHED", 1000 * at, 1000 * (at + seconds), "active", "")
    metrics = [Metric(name, value, 0, 0) for name, value in (("seconds/train", training), ("disk/bytes", size))]
    return Run(info, RunData(metrics, [Param(key, text) for key, text in params_of(job(*words).config).items()]))


def test_the_most_similar_run_says_it_and_training_counts_by_its_pairs() -> None:
    near, far = ran(100, 60, 7, "experiment=smoke", "seed=1"), ran(500, 60, 9, "experiment=smoke", "seed=1", "lora.r=4")
    assert expected(job("experiment=smoke"), [far, near]) == Cost(100, 7)
    assert expected(job("experiment=smoke", "lora.r=4"), [far, near]) == Cost(500, 9)
    assert expected(job("experiment=smoke", "train.steps=6"), [near]) == Cost(100 + 2 * 60, 7)
    assert expected(job("experiment=smoke", "train.batch_size=1"), [near]) == Cost(100 - 30, 7)
    assert expected(job("experiment=smoke", "train.epochs=1"), [near]) == Cost(100 + 60, 7)  # 8 pairs, not 4
    newer = ran(200, 60, 7, "experiment=smoke", "seed=2", at=50)
    assert expected(job("experiment=smoke"), [near, newer]) == Cost(200, 7)


@pytest.mark.parametrize("word", [
    "model=qwen2.5-coder-0.5b", "tasks.per_level=2", "stages=[fetch,prove,baseline]", "algo=ewc", "repair=hints",
])  # fmt: skip
def test_of_another_model_exam_or_method_nothing_is_known(word: str) -> None:
    found = expected(job("experiment=smoke", word), [ran(100, 60, 7, "experiment=smoke")])
    assert found is None


def test_sizes_are_said_as_people_do() -> None:
    assert [megabytes(b) for b in (0, 4e5, 2.4e8, 3e9)] == ["0 MB", "0 MB", "240 MB", "3.0 GB"]
