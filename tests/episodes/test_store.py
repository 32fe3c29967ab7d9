"""The store: what is written is read; many writers, killed writers."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from sleepy.episodes import store
from sleepy.episodes.store import Episode, now, open_episodes
from tests.episodes.conftest import all_of, python


def test_what_is_written_is_read(tmp_path: Path, episode: Episode) -> None:
    later = replace(episode, attempt=1, verdict="passed", after="", adapter="c" * 64, time=now())
    with open_episodes(tmp_path / "deep" / "episodes.db") as store:
        store.write(later)
        store.write(episode)
        store.write(episode)
        assert list(store.episodes()) == [episode, later] and store.newest(1) == [later]
        assert store.counts() == {"borrow_checker": {"compile": 1, "passed": 1}}
    assert all_of(store.path) == [episode, later]
    assert os.listdir(store.path.parent) == ["episodes.db"]  # nothing is left beside a file that was closed


def test_an_outcome_is_that_of_the_newest_attempts(tmp_path: Path, episode: Episode) -> None:
    with open_episodes(tmp_path / "e.db") as store:
        for number, (task, verdict, run) in enumerate(
            [
                ("a", "passed", "1"),
                ("a", "test", "2"),
                ("b", "compile", "1"),
                ("b", "passed", "2"),
                ("c", "compile", "1"),
            ]
        ):
            time = f"2026-03-01T12:00:00.00000{number}+00:00"
            store.write(replace(episode, task=task, verdict=verdict, run=run, time=time))
        assert store.outcomes(1) == {"a": False, "b": True, "c": False}
        assert store.outcomes(2) == {"a": True, "b": True, "c": False}
        assert store.outcomes(1, "1") == {"a": True, "b": False, "c": False}
        assert store.outcomes(1, "3") == {}


WRITER = """
for i in range(20):
    with open_episodes(path) as store:  # a file that all of them make, open and close at once
        store.write(replace(episode, run=str(os.getpid()), attempt=i, time=now()))
with open_episodes(path) as store:
    for i in range(20, 60):
        store.write(replace(episode, run=str(os.getpid()), attempt=i, time=now()))
"""


def test_processes_write_at_once(tmp_path: Path, episode: Episode) -> None:
    path = tmp_path / "e.db"
    writers = [python(WRITER, path, episode) for _ in range(5)]
    assert [writer.communicate()[1] for writer in writers] == [""] * 5
    assert sorted((e.run, e.attempt) for e in all_of(path)) == sorted(
        (str(w.pid), i) for w in writers for i in range(60)
    )
    assert os.listdir(tmp_path) == ["e.db"]


def test_of_two_that_make_the_file_the_first_wins(filled: Path) -> None:
    before = filled.read_bytes()
    store._create(filled)
    assert filled.read_bytes() == before and os.listdir(filled.parent) == ["e.db"]


def test_a_thread_sees_only_what_is_whole(tmp_path: Path, episode: Episode) -> None:
    seen: list[Episode] = []
    with open_episodes(tmp_path / "e.db") as store:

        def two() -> Iterator[Episode]:
            yield episode
            reader = threading.Thread(target=lambda: seen.extend(store.episodes()))
            reader.start()
            reader.join()
            yield replace(episode, attempt=1)

        assert store.write_all(two()) == 2 and seen == [] and len(list(store.episodes())) == 2


def test_threads_write_at_once(tmp_path: Path, episode: Episode) -> None:
    with open_episodes(tmp_path / "e.db") as store:

        def write(run: int) -> None:
            for i in range(20):
                store.write(replace(episode, run=str(run), attempt=i))

        threads = [threading.Thread(target=write, args=(run,)) for run in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(list(store.episodes())) == 80


ENDLESS = """
with open_episodes(path) as store:
    for i in range(10**9):
        store.write(replace(episode, attempt=i))
        print(i, flush=True)
"""


@pytest.mark.parametrize("after", [1, 7, 40])
def test_a_killed_process_loses_nothing_that_was_written(tmp_path: Path, episode: Episode, after: int) -> None:
    path = tmp_path / "e.db"
    writer = python(ENDLESS, path, episode)
    assert writer.stdout is not None
    said = [int(writer.stdout.readline()) for _ in range(after)]
    writer.send_signal(signal.SIGKILL)
    said += [int(line) for line in writer.communicate()[0].split("\n") if line]
    assert (tmp_path / "e.db-wal").stat().st_size  # it was killed with the file open
    there = sorted(e.attempt for e in all_of(path))
    assert there[: len(said)] == said and len(there) - len(said) in (0, 1)  # one was written but not yet said
