"""The store: what is written is read; many writers, killed writers; files that it does not use, or explains."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from sleepy.episodes import store as store_module
from sleepy.episodes.store import Episode, now, open_episodes
from sleepy.errors import DataError
from tests.episodes.conftest import all_of, python


def test_what_is_written_is_read(tmp_path: Path, episode: Episode) -> None:
    later = replace(episode, attempt=1, verdict="passed", after="", adapter="c" * 64, time=now())
    with open_episodes(tmp_path / "deep" / "episodes.db") as store:
        store.write(later)
        store.write(episode)
        store.write(episode)
        assert store.episodes() == [episode, later] and store.newest(1) == [later]
        assert store.counts() == {"borrow_checker": {"compile": 1, "passed": 1}}
    assert all_of(store.path) == [episode, later]
    assert os.listdir(store.path.parent) == ["episodes.db"]  # nothing is left beside a file that was closed


def test_an_outcome_is_that_of_the_newest_attempts(tmp_path: Path, episode: Episode) -> None:
    tried = [("a", "passed", 1), ("a", "test", 2), ("b", "compile", 1), ("b", "passed", 2), ("c", "test", 1)]
    with open_episodes(tmp_path / "e.db") as store:
        for number, (task, verdict, run) in enumerate(tried):
            time = f"2026-03-01T12:00:00.00000{number}+00:00"
            store.write(replace(episode, task=task, verdict=verdict, run=str(run), time=time))
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
    store_module._create(filled)
    assert filled.read_bytes() == before and os.listdir(filled.parent) == ["e.db"]


def test_threads_write_and_read_at_once(tmp_path: Path, episode: Episode) -> None:
    torn: list[int] = []
    with open_episodes(tmp_path / "e.db") as store:

        def write(run: int) -> None:
            for i in range(20):
                store.write_all(replace(episode, run=str(run), attempt=n) for n in (2 * i, 2 * i + 1))
                torn.extend([1] * (len(store.episodes()) % 2))

        threads = [threading.Thread(target=write, args=(run,)) for run in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(store.episodes()) == 160 and not torn


ENDLESS = """
with open_episodes(path) as store:
    for i in range(10**9):
        store.write(replace(episode, attempt=i))
        print(i, flush=True)
"""


@pytest.mark.parametrize("after", [1, 40])
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


def garbage(path: Path) -> None:
    path.write_bytes(os.urandom(20_000))


def foreign(path: Path) -> None:
    path.unlink()
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE runs (id)")


def newer(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version = 2")


REFUSED = [(garbage, "not a database; it was left"), (foreign, "another program's data"), (newer, "has version 2")]


@pytest.mark.parametrize(("damage", "words"), REFUSED)
def test_a_file_that_is_not_ours_to_use_is_refused_and_left(
    filled: Path, damage: Callable[[Path], None], words: str
) -> None:
    damage(filled)
    before = filled.read_bytes()
    with pytest.raises(DataError, match=words):
        open_episodes(filled)
    assert filled.read_bytes() == before and os.listdir(filled.parent) == ["e.db"]


def test_damage_is_found_by_a_check_and_by_who_reads(filled: Path) -> None:
    with open_episodes(filled) as store:
        store.check()
    with filled.open("r+b") as file:  # pages in the middle are gone; the first one is sound
        file.seek(5 * 4096)
        file.write(bytes(20 * 4096))
    with open_episodes(filled) as store:
        with pytest.raises(DataError, match=r"damaged|malformed"):
            store.check()
        with pytest.raises(DataError, match="malformed; it was left"):
            store.episodes()


def test_the_rest_of_a_file_that_was_moved_is_not_mixed_into_a_new_one(tmp_path: Path) -> None:
    wal = tmp_path / "e.db-wal"
    wal.write_bytes(b"the last episodes of another file")
    with pytest.raises(DataError, match=r"e.db-wal is there without .*e.db, which was moved"):
        open_episodes(tmp_path / "e.db")
    assert wal.read_bytes() and not (tmp_path / "e.db").exists()


def test_a_full_disk_is_explained_and_what_was_there_stays(filled: Path, episode: Episode) -> None:
    with open_episodes(filled) as store:
        store._db.execute("PRAGMA max_page_count = 1")  # SQLite finds "no space" where the file would have to grow
        with pytest.raises(DataError, match="database or disk is full; free some disk space"):
            store.write_all(replace(episode, run="more", attempt=i) for i in range(500))
        store._db.execute("PRAGMA max_page_count = 1000000")
        store.write(replace(episode, run="after"))
    assert len(all_of(filled)) == 201


def test_a_file_that_another_program_holds_is_explained(
    filled: Path, episode: Episode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "BUSY_SECONDS", 0.1)
    with closing(sqlite3.connect(filled)) as holder, open_episodes(filled) as store:
        holder.execute("BEGIN IMMEDIATE")
        with pytest.raises(DataError, match="database is locked; end the program that holds it"):
            store.write(episode)
        holder.rollback()
        store.write(replace(episode, run="after"))
    assert len(all_of(filled)) == 201


@pytest.fixture
def nobodys(filled: Path) -> Iterator[Path]:
    """The file in a folder that everybody may read and nobody but root may write to."""
    folder = Path(tempfile.mkdtemp(prefix="sleepy-readonly-"))
    shutil.copy(filled, folder / "e.db")
    (folder / "e.db").chmod(0o444)
    folder.chmod(0o555)
    yield folder
    folder.chmod(0o755)
    shutil.rmtree(folder)


UNPRIVILEGED = """
if os.geteuid() == 0:
    os.seteuid(65534)
for name in ("e.db", "new.db", "deep/new.db", "e.db/new.db"):
    try:
        with open_episodes(path / name) as store:
            store.write(episode)
    except DataError as error:
        print(error)
"""


def test_a_folder_without_permission_is_explained(nobodys: Path, episode: Episode) -> None:
    said, wrong = python(UNPRIVILEGED, nobodys, episode).communicate()
    assert said.count("give write permission") == said.count(f"episodes cannot be kept in {nobodys}") == 4, wrong
    assert os.listdir(nobodys) == ["e.db"]


def test_what_is_only_read_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no such file. Name the file with episodes="):
        open_episodes(tmp_path / "e.db", create=False)
    assert os.listdir(tmp_path) == []
