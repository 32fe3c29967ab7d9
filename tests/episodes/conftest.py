"""What the tests of episodes share: one of them, a file of them, a process that writes them."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from sleepy.episodes.store import Episode, open_episodes

ROOT = Path(__file__).resolve().parent.parent.parent
PRELUDE = """
import os, sys
from dataclasses import replace
from pathlib import Path
from sleepy.episodes.store import Episode, now, open_episodes
from sleepy.errors import DataError
path = Path(sys.argv[1])
episode = {episode!r}
"""


def python(code: str, path: Path, episode: Episode) -> subprocess.Popen[str]:
    """A process of its own that runs `code` on the store in `path`."""
    words = [sys.executable, "-c", PRELUDE.format(episode=episode) + code, str(path)]
    return subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.fixture
def episode() -> Episode:
    """The episode of a repair that did not compile."""
    diff = '--- broken.rs\n+++ attempt.rs\n@@ -1 +1 @@\n-fn f() {}\n+fn g() { "°\u2028\x85\t\0" }\n'
    return Episode(
        run="run-1", task="borrow_checker/word_report", family="borrow_checker", pattern="use_after_move", attempt=0,
        prompt="a" * 64, model="b" * 64, adapter="", before="E0382 borrow of moved value: _",
        after="E0308 mismatched types\nE0382 use of moved value: _", diff=diff, verdict="compile", prompt_tokens=321,
        completion_tokens=38, milliseconds=1234, time="2026-03-01T12:00:00.000001+00:00",
    )  # fmt: skip


def all_of(path: Path) -> list[Episode]:
    with open_episodes(path, create=False) as store:
        return store.episodes()


@pytest.fixture
def filled(tmp_path: Path, episode: Episode) -> Path:
    """A file of 200 episodes."""
    with open_episodes(tmp_path / "e.db") as store:
        store.write_all(replace(episode, attempt=i) for i in range(200))
    return tmp_path / "e.db"
