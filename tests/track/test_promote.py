from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from sleepy.errors import SleepyError
from sleepy.track.tracker import Tracker

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient


def adapter_run(tracker: Tracker, text: str) -> str:
    with tracker.run(name=text) as run:
        run.text(text, "adapter/adapter_config.json")
    return run.id


def test_promoting_twice_moves_the_alias(shared: Tracker, client: MlflowClient) -> None:
    assert shared.promoted("org/coder:0.5b") is None
    first, second = adapter_run(shared, "first"), adapter_run(shared, "second")
    assert shared.promote(first, "org/coder:0.5b") == 1
    found = shared.promoted("org/coder:0.5b")
    assert found is not None and (found.version, found.run_id) == (1, first)
    assert shared.promote(second, "org/coder:0.5b", "adapter") == 2
    found = shared.promoted("org/coder:0.5b")
    assert found is not None and (found.version, found.run_id) == (2, second)
    assert (found.source / "adapter_config.json").read_text() == "second"
    assert {alias: int(n) for alias, n in client.get_registered_model("org-coder-0.5b").aliases.items()} == {
        "promoted": 2
    }
    assert shared.promoted("coder") is None


def test_a_promoted_adapter_can_be_had_by_its_alias(
    shared: Tracker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow

    shared.promote(adapter_run(shared, "by alias"), "by-alias")
    shared._store.client.create_registered_model("without versions")
    assert shared.promoted("without versions") is None
    monkeypatch.setenv("MLFLOW_TRACKING_URI", shared._store.client.tracking_uri)  # as one would outside sleepy
    folder = mlflow.artifacts.download_artifacts("models:/by-alias@promoted", dst_path=str(tmp_path))
    assert (Path(folder) / "adapter_config.json").read_text() == "by alias"


def test_a_run_without_an_adapter_is_not_promoted(shared: Tracker) -> None:
    with shared.run(name="empty") as run:
        pass
    with pytest.raises(SleepyError, match="has no artifacts in 'adapter'"):
        shared.promote(run.id, "empty")
    assert shared.promoted("empty") is None
