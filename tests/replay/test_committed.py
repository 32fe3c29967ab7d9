"""The smoke run that was committed as a record is still the same."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sleepy.options import CONF
from sleepy.track.record import record
from tests.jobs import ROOT, sleepy

RECORD = "smoke_record"


@pytest.mark.slow
def test_the_committed_record_is_still_the_same(tmp_path: Path) -> None:
    """To the letter of each answer on a machine that rounds alike, by its paired test on any other. After a change that
    is meant, write the record anew: CONTRIBUTING.md says how."""
    made_with = json.loads((CONF / "experiment" / f"{RECORD}.lock.json").read_text())["circumstances"]
    here = record(ROOT / "sleepy").params
    alike = {made_with["CPU features"], made_with["rustc"]} == {here["env.cpu_features"], here["env.rustc"]}
    level = "answers" if alike else "test"
    done = sleepy(tmp_path, f"replay={RECORD}", f"replay.level={level}", OMP_NUM_THREADS="1")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "| mix | same |" in done.stdout
