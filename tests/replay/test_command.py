"""Repeating from the command line, on SmolLM2."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sleepy.options import CONF
from tests.jobs import SMALL, runs, sleepy

STAGES = "stages=[fetch,prove,baseline,train,evaluate,gate,report]"


@pytest.mark.slow
def test_a_smoke_run_is_recorded_and_repeated_until_a_digest_in_its_lock_is_another(tmp_path: Path) -> None:
    done = sleepy(tmp_path, *SMALL, STAGES)
    assert done.returncode == 0, done.stderr
    place = tmp_path / "experiment"
    done = sleepy(tmp_path, f"record={runs(tmp_path)[0].info.run_id}", "name=mine", f"record.folder={place}")
    assert done.returncode == 0, done.stderr
    lock = place / "mine.lock.json"
    done = sleepy(tmp_path, f"replay={lock}", "replay.level=mix")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("| same |") >= 6
    recorded = json.loads(lock.read_text())
    recorded["made"]["adapters"]["adapter"] = 64 * "0"
    lock.write_text(json.dumps(recorded))
    done = sleepy(tmp_path, f"replay={lock}", "replay.level=adapter")
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "error: not the same at replay.level=adapter: adapter, to the bit (differs)" in done.stderr
    assert "| mix | same |" in done.stdout and "| answers | same |" in done.stdout


@pytest.mark.slow
def test_the_committed_record_still_comes_to_the_same(tmp_path: Path) -> None:
    """To the mix and the paired test: to the bit it is the same only on a machine like the one that recorded it."""
    assert (CONF / "experiment" / "record_smoke.lock.json").is_file()
    done = sleepy(tmp_path, "replay=record_smoke", "replay.level=test")
    told = "Was it meant to change? docs/how-to/repeat.md says how to record it again"
    assert done.returncode == 0, f"{told}\n{done.stdout}{done.stderr}"
    assert "| mix | same |" in done.stdout and "| config | same |" in done.stdout, f"{told}\n{done.stdout}"
