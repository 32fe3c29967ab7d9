"""Days and nights from the command line: gated, recorded, killed and gone on with."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sleepy.episodes.store import open_episodes
from tests.jobs import ROOT, own_cache, runs, sleepy

pytestmark = pytest.mark.slow


CYCLES = [
    "experiment=sleep_cycle",
    "cycles=2",
    "model=smollm2-135m",
    "tasks=koans_mini",
    "tasks.per_level=1",
    "tasks.families=[type_mismatch]",
    "train.batch_size=2",
    "train.steps=1",
    "stream.gate_koans=2",
    "data.probe=2",
    "data.examples=2",
]


@pytest.fixture(scope="module")
def cycles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two days and nights, unbroken."""
    folder = tmp_path_factory.mktemp("cycles")
    done = sleepy(folder, *CYCLES, own_cache(folder), timeout=900)
    assert done.returncode == 0, done.stderr
    assert "cycle-1 promoted" in done.stderr and "gated on" in done.stdout
    return folder


def test_cycles_are_gated_on_other_koans_and_go_on_from_what_was_kept(cycles: Path) -> None:
    from mlflow import MlflowClient

    (run,) = runs(cycles)
    client = MlflowClient(f"sqlite:///{cycles / 'mlflow.db'}")
    figures = {
        n: client.get_metric_history(run.info.run_id, f"cycle/{n}") for n in ("promoted", "gated_on", "pass_rate")
    }
    assert all([m.step for m in history] == [1, 2] for history in figures.values())
    rates = client.get_metric_history(run.info.run_id, "train/lr")
    assert [m.step for m in rates] == [1, 2] and rates[1].value == pytest.approx(0.9 * rates[0].value)
    (first,) = cycles.glob("outputs/*/*/cycle-1/mix.jsonl")
    second = first.parent.parent / "cycle-2" / "mix.jsonl"
    assert first.read_text() != second.read_text()
    assert (first.parent.parent / "cycles.png").is_file()
    version = client.get_model_version_by_alias("sleepy-smollm2-135m", "promoted")
    assert (Path(version.source.removeprefix("file://")) / "adapter_config.json").is_file()


def test_every_attempt_of_a_run_is_an_episode(cycles: Path) -> None:
    with open_episodes(cycles / "episodes.db", create=False) as store:
        episodes = list(store.episodes())
    (run,) = runs(cycles)
    assert {e.run for e in episodes} == {run.info.run_id} and {e.verdict for e in episodes} <= {
        "compile",
        "test",
        "passed",
    }
    assert len({e.adapter for e in episodes}) == 3  # none, and two nights', one of them in the exported weights too
    assert {e.adapter for e in episodes if e.model == episodes[-1].model} == {run.data.tags["adapter.digest"]}
    assert any(e.diff for e in episodes)


def test_cycles_killed_at_night_and_in_the_evaluation_end_with_the_same_adapter(cycles: Path, tmp_path: Path) -> None:
    cache = own_cache(tmp_path)

    def killed_when(word: str) -> None:
        """Start the run, and kill it when `word` stands in what it says."""
        with (tmp_path / "said").open("w") as said:
            argv = [sys.executable, str(ROOT / "run.py"), *CYCLES, cache]
            child = subprocess.Popen(argv, cwd=tmp_path, stdout=said, stderr=said, start_new_session=True)
            deadline = time.monotonic() + 600
            while child.poll() is None and word not in (tmp_path / "said").read_text() and time.monotonic() < deadline:
                time.sleep(0.05)
            os.killpg(child.pid, signal.SIGKILL)
        assert child.wait() == -signal.SIGKILL, (tmp_path / "said").read_text()

    killed_when("train ")  # the night: the bar of the training is there
    killed_when("cycle-2 ")  # what the gate said of the second night; its evaluation follows
    done = sleepy(tmp_path, *CYCLES, cache, timeout=900)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("going on after step 1 ") == 2  # no night is learned twice
    digests = [runs(folder)[-1].data.tags["adapter.digest"] for folder in (cycles, tmp_path)]
    assert digests[0] == digests[1] and len(runs(tmp_path)) == 3
