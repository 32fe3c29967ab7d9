"""Repeating from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.jobs import runs, sleepy

STAGES = "stages=[fetch,prove,baseline,train,evaluate,gate,report]"


@pytest.mark.slow
def test_a_record_is_not_the_same_any_more_when_a_digest_in_its_lock_is_another(
    tmp_path: Path, tiny_model: Path, tiny_words: list[str]
) -> None:
    cache = f"cache={tiny_model / 'cache'}"
    done = sleepy(tmp_path, *tiny_words, "engine.threads=1", "ability=false", STAGES)
    assert done.returncode == 0, done.stderr
    place = tmp_path / "experiment"
    done = sleepy(tmp_path, f"record={runs(tmp_path)[0].info.run_id}", "name=mine", f"record.folder={place}")
    assert done.returncode == 0, done.stderr
    lock = place / "mine.lock.json"
    recorded = json.loads(lock.read_text())
    recorded["made"]["adapters"]["adapter"] = 64 * "0"
    lock.write_text(json.dumps(recorded))
    done = sleepy(tmp_path, f"replay={lock}", "replay.level=adapter", cache)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "error: not the same at replay.level=adapter: adapter, to the bit (differs)" in done.stderr
    same = ("config", "mix", "answers")
    assert all(f"| {level} | same |" in done.stdout for level in same)
