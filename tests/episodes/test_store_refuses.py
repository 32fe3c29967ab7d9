"""Files that the store does not use, or explains: damaged, newer, older and foreign ones, no room, no permission."""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from sleepy.episodes import store as store_module
from sleepy.episodes.store import Episode, open_episodes
from sleepy.errors import DataError
from tests.episodes.conftest import all_of, python


def garbage(path: Path) -> None:
    path.write_bytes(os.urandom(20_000))


def empty(path: Path) -> None:
    path.write_bytes(b"")


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2 // 4096 * 4096)


def hole(path: Path) -> None:
    """Pages in the middle are gone; the first one is sound."""
    with path.open("r+b") as file:
        file.seek(5 * 4096)
        file.write(bytes(20 * 4096))


def foreign(path: Path) -> None:
    path.unlink()
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE runs (id)")


def newer(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.execute(f"PRAGMA user_version = {len(store_module.VERSIONS) + 1}")


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (garbage, "file is not a database; it was left as it was. Move e.db[*] away"),
        (empty, "holds no episodes, but another program's data"),
        (cut, "malformed"),
        (hole, "malformed"),
        (foreign, "holds no episodes, but another program's data"),
        (newer, "has version 2, this sleepy knows versions up to 1"),
    ],
)
def test_a_file_that_is_not_ours_to_use_is_refused_and_left(filled: Path, damage: object, words: str) -> None:
    assert callable(damage)
    damage(filled)
    before = filled.read_bytes()
    with pytest.raises(DataError, match=words):
        open_episodes(filled)
    assert filled.read_bytes() == before


def test_a_newer_file_in_use_is_left_too(filled: Path, tmp_path: Path) -> None:
    """What is new stands in the -wal, which SQLite would move into the file when the last connection is closed."""
    with closing(sqlite3.connect(filled)) as db:
        db.execute(f"PRAGMA user_version = {len(store_module.VERSIONS) + 1}")
        copies = [shutil.copy(f"{filled}{end}", tmp_path / f"copy.db{end}") for end in ("", "-wal")]
    before = [Path(copy).read_bytes() for copy in copies]
    with pytest.raises(DataError, match="has version 2"):
        open_episodes(tmp_path / "copy.db")
    assert [Path(copy).read_bytes() for copy in copies] == before


def test_the_rest_of_a_file_that_was_moved_is_not_mixed_into_a_new_one(tmp_path: Path, episode: Episode) -> None:
    wal = tmp_path / "e.db-wal"
    wal.write_bytes(b"the last episodes of another file")
    with pytest.raises(DataError, match=r"e.db-wal is there without .*e.db, which was moved"):
        open_episodes(tmp_path / "e.db")
    assert wal.read_bytes() and not (tmp_path / "e.db").exists()


def test_an_older_file_is_brought_up_to_date(filled: Path, episode: Episode, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of version 1 meets a program that knows version 3; many threads find it at once."""
    before = all_of(filled)
    newer = (
        ("ALTER TABLE episodes ADD COLUMN mood TEXT NOT NULL DEFAULT 'calm'",),
        ("CREATE INDEX moods ON episodes (mood)",),
    )
    with monkeypatch.context() as later:
        later.setattr(store_module, "VERSIONS", (*store_module.VERSIONS, *newer))
        failed: list[Exception] = []

        def open_it() -> None:
            try:
                open_episodes(filled).close()
            except Exception as error:
                failed.append(error)

        threads = [threading.Thread(target=open_it) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failed == [] and all_of(filled) == before
        with open_episodes(filled) as store:
            store.write(replace(episode, run="later"))
        with closing(sqlite3.connect(filled)) as db:
            assert db.execute("SELECT mood, count(*) FROM episodes GROUP BY mood").fetchall() == [("calm", 201)]
            assert db.execute("PRAGMA user_version").fetchone() == (3,)
    with pytest.raises(DataError, match="has version 3"):
        open_episodes(filled)


def test_a_step_that_fails_leaves_the_older_file(filled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = all_of(filled)
    with monkeypatch.context() as later:
        later.setattr(
            store_module, "VERSIONS", (*store_module.VERSIONS, ("DROP INDEX episodes_by_time", "DROP INDEX gone"))
        )
        with pytest.raises(DataError, match="no such index: gone"):
            open_episodes(filled)
    with closing(sqlite3.connect(filled)) as db:
        assert db.execute("SELECT count(*) FROM sqlite_master WHERE name = 'episodes_by_time'").fetchone() == (1,)
    assert all_of(filled) == before


def test_a_full_disk_is_explained_and_what_was_there_stays(filled: Path, episode: Episode) -> None:
    with open_episodes(filled) as store:
        store._db().execute("PRAGMA max_page_count = 1")  # SQLite finds "no space" where the file would have to grow
        with pytest.raises(DataError, match="database or disk is full; free some disk space"):
            store.write_all(replace(episode, run="more", attempt=i) for i in range(500))
        store._db().execute("PRAGMA max_page_count = 1000000")
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
        store.write(episode)


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
try:
    with open_episodes(path) as store:
        store.write(episode)
except DataError as error:
    print(error)
"""


@pytest.mark.parametrize("name", ["e.db", "new.db", "deep/new.db", "e.db/new.db", "e.db/deep/new.db"])
def test_a_folder_without_permission_is_explained(nobodys: Path, episode: Episode, name: str) -> None:
    said, wrong = python(UNPRIVILEGED, nobodys / name, episode).communicate()
    assert f"episodes cannot be kept in {nobodys / name}" in said and "give write permission" in said, wrong
    assert os.listdir(nobodys) == ["e.db"]


def test_what_is_only_read_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no such file. Name the file with episodes="):
        open_episodes(tmp_path / "e.db", create=False)
    assert os.listdir(tmp_path) == []
