from __future__ import annotations

from collections.abc import Callable
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from sleepy.errors import SleepyError
from sleepy.track.mlflow import Mlflow
from sleepy.track.tracker import Tracker

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient


def adapter_run(tracker: Tracker, text: str, folder: str = "adapter") -> str:
    with tracker.run(name=text) as run:
        run.text(text, f"{folder}/adapter_config.json")
    return run.id


def test_promoting_moves_the_alias_from_the_version_that_was_compared_with(
    shared: Tracker, client: MlflowClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow

    name = "org/coder:0.5b's"
    assert shared.promoted(name) is None
    first, second, third = (adapter_run(shared, word, "adapter/1-x") for word in ("first", "second", "third"))
    assert shared.promote(first, name, "adapter/1-x", replacing=7) is None
    assert shared.promote(first, name, "adapter/1-x", replacing=None) == 1
    assert shared.promote(second, name, "adapter/1-x", replacing=1) == 2
    for old in (None, 1, 3):
        assert shared.promote(third, name, "adapter/1-x", replacing=old) is None
    found = shared.promoted(name)
    assert found is not None and (found.version, found.run_id) == (2, second)
    assert (found.source / "adapter_config.json").read_text() == "second"
    assert len(client.search_model_versions("name = 'org-coder-0.5b-s'")) == 2  # nothing is left of those refused
    assert shared.promoted("coder") is None
    monkeypatch.setenv("MLFLOW_TRACKING_URI", client.tracking_uri)  # as one would outside sleepy
    copy = mlflow.artifacts.download_artifacts("models:/org-coder-0.5b-s@promoted", dst_path=str(tmp_path))
    assert (Path(copy) / "adapter_config.json").read_text() == "second"


def promotes_often(number: int, barrier: Barrier, folder: str, run_id: str) -> tuple[list[int], int]:
    """The versions that this process made, each in place of one that it saw, and how often the other was faster."""
    tracker, made, lost = Mlflow(folder=folder).open(), [], 0
    for _ in range(12):
        used = tracker.promoted("raced")
        barrier.wait()  # both have compared with the same version
        version = tracker.promote(run_id, "raced", replacing=used.version if used else None)
        if version is None:
            lost += 1
        else:
            made.append(version)
        barrier.wait()
    return made, lost


def test_of_two_processes_that_compared_with_the_same_version_one_promotes(
    shared: Tracker, client: MlflowClient, folder: Path, at_once: Callable[..., Any]
) -> None:
    (one, lost), (other, lost_too) = at_once(2, promotes_often, str(folder), adapter_run(shared, "raced"))
    assert sorted(one + other) == list(range(1, 13)) and lost + lost_too == 12
    assert len(client.search_model_versions("name = 'raced'")) == 12
    promoted = shared.promoted("raced")
    assert promoted is not None and promoted.version == 12


def test_what_has_no_adapter_is_not_promoted(shared: Tracker, client: MlflowClient) -> None:
    with shared.run(name="empty") as run:
        pass
    with pytest.raises(SleepyError, match="has no artifacts in 'adapter'"):
        shared.promote(run.id, "empty", replacing=None)
    client.create_registered_model("empty")
    assert shared.promoted("empty") is None  # a model without versions
