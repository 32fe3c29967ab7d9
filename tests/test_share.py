"""`algo=share` as a job: one shared model of a single run, averaged or routed; and what a job expects of its time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sleepy.errors import ConfigError, DataError
from sleepy.train import _share_lora as files
from tests.jobs import artifacts

Job = Callable[..., Any]
SHARE = ("algo=share", "data.families=null", "data.examples=6", "train.steps=2", "export.proof_prompts=0")


def test_share_in_a_single_run_is_one_shared_model_of_several_tasks(
    run: Job, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stages = "stages=[fetch,prove,baseline,train]"
    found = run(*SHARE, stages)
    shared = files.load(artifacts(found) / "adapter" / "memory")
    tasks = list(shared.tasks)
    assert len(tasks) > 2 and tasks == sorted(tasks)
    shown = capsys.readouterr().err
    assert f"2 steps are too few for {len(tasks)} families" in shown and "expected time: no earlier run" in shown
    again = run(*SHARE, stages)
    assert again.data.tags["adapter.digest"] == found.data.tags["adapter.digest"]
    shown = capsys.readouterr().err
    assert f"by run {found.info.run_id}" in shown and "train" in shown.split("expected time: ")[1].splitlines()[0]


def test_share_in_a_single_run_is_routed_by_the_message(run: Job, tmp_path: Path) -> None:
    found = run(*SHARE, "routing=error_code", "report.pictures=false")
    assert "adapter.digest" not in found.data.tags and found.data.metrics["routing/koans"] == 3
    (folder,) = tmp_path.glob("outputs/job-0")
    shared = files.load(folder / "adapter" / "memory")
    assert {p.name for p in folder.glob("tasks/*")} == set(shared.tasks)
    written = sorted(p.stem for p in folder.glob("export/adapters/*.gguf"))  # one a family, and not one a pattern
    assert written == sorted(shared.tasks)


def test_what_share_cannot_make_tasks_of_is_refused(run: Job) -> None:
    with pytest.raises(DataError, match="all 4 pairs of the mix are of the pattern index_not_usize"):
        run("algo=share", "data=pattern", "data.patterns=[index_not_usize]", "stages=[fetch,prove,baseline,train]")
    with pytest.raises(ConfigError, match="or with algo=share"):
        run("routing=oracle")
    with pytest.raises(ConfigError, match="routing chooses among several"):
        run("algo=share", "stream=cycles", "routing=oracle")


def test_a_forecast_that_fails_ends_no_run(run: Job, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sleepy.track.tracker.Tracker.recent", lambda *_: [None])
        run("stages=[fetch]")
    assert "expected time: unknown (AttributeError)" in capsys.readouterr().err
