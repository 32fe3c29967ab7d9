"""Episodes in one SQLite file: written as they happen, by any number of processes and threads at once."""

from __future__ import annotations

import os
import sqlite3
import tempfile
import threading
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, astuple, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sleepy.artifacts import digest_of
from sleepy.errors import DataError

BUSY_SECONDS = 60.0  # how long one process waits for the others' commits, each of which takes milliseconds
APPLICATION = 0x736C7079  # "slpy" in the file's header: no other program's database is taken for ours
VERSION = 1
_OTHER = "name another file with episodes=<path>"
_ADVICE = {
    sqlite3.SQLITE_FULL: "free some disk space and run again",
    sqlite3.SQLITE_BUSY: "end the program that holds it (a browser of SQLite files, a stuck run)",
    **dict.fromkeys((sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT), f"it was left as it was. Restore it, or {_OTHER}"),
    **dict.fromkeys((sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN), f"give write permission, or {_OTHER}"),
}


@dataclass(frozen=True, kw_only=True)
class Episode:
    """One attempt at one task.

    `run` is the id of the run that made it, `attempt` counts from 0 within the task. `prompt`, `model` and `adapter`
    are digests; without an adapter it is "". `before` and `after` are error signatures, "" where there was no error
    of the compiler. `diff` leads from the broken program to the attempted one. `verdict` is where the attempt ended:
    "compile", "test" or "passed". Tokens and milliseconds are the engine's. `time` is when it was judged: UTC, ISO.
    """

    run: str
    task: str
    family: str
    pattern: str
    attempt: int
    prompt: str
    model: str
    adapter: str
    before: str
    after: str
    diff: str
    verdict: str
    prompt_tokens: int
    completion_tokens: int
    milliseconds: int
    time: str

    @property
    def digest(self) -> str:
        """Of every field: the same episode is stored once."""
        return digest_of(asdict(self))


COLUMNS = {f.name: "INTEGER" if f.type == "int" else "TEXT" for f in fields(Episode)}
_SCHEMA = f"""
    PRAGMA journal_mode = WAL; -- the file remembers it
    PRAGMA application_id = {APPLICATION};
    PRAGMA user_version = {VERSION};
    CREATE TABLE episodes (
        digest TEXT PRIMARY KEY NOT NULL, {", ".join(f"{name} {kind} NOT NULL" for name, kind in COLUMNS.items())});
    CREATE INDEX episodes_by_task ON episodes (task, time);
    CREATE INDEX episodes_by_time ON episodes (time)"""


def now() -> str:
    """The time as an episode has it: UTC, to the microsecond, so that times sort as texts do."""
    return datetime.now(UTC).isoformat(timespec="microseconds")


class EpisodeStore:
    """An open file of episodes; `open_episodes` makes it. Threads take turns."""

    def __init__(self, path: Path, db: sqlite3.Connection) -> None:
        self.path, self._db, self._lock = path, db, threading.Lock()

    def __enter__(self) -> EpisodeStore:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def write(self, episode: Episode) -> None:
        """Store one episode. When this returns it is on the disk."""
        self.write_all([episode])

    def write_all(self, episodes: Iterable[Episode]) -> int:
        """Store all episodes or, when something goes wrong, none; how many were not there yet."""
        marks = ", ".join("?" * (len(COLUMNS) + 1))
        statement = f"INSERT OR IGNORE INTO episodes (digest, {', '.join(COLUMNS)}) VALUES ({marks})"
        rows = [(e.digest, *astuple(e)) for e in episodes]
        with _explained(self.path), self._lock, self._db:
            return self._db.executemany(statement, rows).rowcount if rows else 0

    def episodes(self) -> list[Episode]:
        """All episodes, oldest first."""
        return self._episodes("ORDER BY time, attempt, digest")

    def newest(self, count: int) -> list[Episode]:
        """The last `count` episodes, newest first."""
        return self._episodes("ORDER BY time DESC, attempt DESC, digest DESC LIMIT ?", count)

    def counts(self) -> dict[str, dict[str, int]]:
        """Family -> verdict -> number of episodes."""
        found: dict[str, dict[str, int]] = defaultdict(dict)
        statement = "SELECT family, verdict, count(*) FROM episodes GROUP BY family, verdict ORDER BY family"
        for family, verdict, number in self._rows(statement):
            found[family][verdict] = number
        return dict(found)

    def outcomes(self, last: int, run: str = "") -> dict[str, bool]:
        """Task -> whether one of its `last` newest attempts passed; of one run, or of all with ""."""
        statement = """
            SELECT task, max(verdict = 'passed') FROM (
                SELECT task, verdict, row_number() OVER (
                    PARTITION BY task ORDER BY time DESC, attempt DESC, digest DESC) AS place
                FROM episodes WHERE ? IN ('', run))
            WHERE place <= ? GROUP BY task"""
        return {task: bool(passed) for task, passed in self._rows(statement, run, last)}

    def check(self) -> None:
        """Read the whole file. Raises DataError for one that is damaged."""
        ((found, *_),) = self._rows("PRAGMA integrity_check(1)")
        if found != "ok":
            raise DataError(f"{self.path}: the file is damaged ({found}); {_ADVICE[sqlite3.SQLITE_CORRUPT]}")

    def _episodes(self, order: str, *values: object) -> list[Episode]:
        rows = self._rows(f"SELECT {', '.join(COLUMNS)} FROM episodes {order}", *values)
        return [Episode(**dict(zip(COLUMNS, row, strict=True))) for row in rows]

    def _rows(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        with _explained(self.path), self._lock:
            return self._db.execute(statement, values).fetchall()


def open_episodes(path: Path, *, create: bool = True) -> EpisodeStore:
    """The episodes in `path`: a new file where there is none (with `create`). Any number of processes may do so at
    once.

    Raises DataError for a file that is no database, another program's or of a newer sleepy, which is left as it was,
    and for one that cannot be opened.
    """
    path = path.expanduser()
    with _explained(path):
        # In this order: a process that makes the file does so before there is a -wal.
        if path.with_name(f"{path.name}-wal").exists() and not path.exists():  # SQLite would mix it into the new file
            raise DataError(
                f"{path}-wal is there without {path}, which was moved or deleted: it holds that file's last episodes. "
                "Bring the file back, or move the -wal away too"
            )
        if create and not path.exists():
            _create(path)
        if not path.is_file():
            raise DataError(f"there are no episodes in {path}: no such file. Name the file with episodes=<path>")
        db = _connect(path)
        try:
            (application,) = db.execute("PRAGMA application_id").fetchone()
            (version,) = db.execute("PRAGMA user_version").fetchone()
            if application != APPLICATION:
                raise DataError(f"{path} holds no episodes, but another program's data; {_OTHER}")
            if version > VERSION:
                raise DataError(
                    f"{path} has version {version}, this sleepy reads {VERSION}. Use a newer sleepy, or {_OTHER}"
                )
        except BaseException:
            db.close()
            raise
    return EpisodeStore(path, db)


def _create(path: Path) -> None:
    """A new file, in place whole or not at all; if another process was first, its file stays."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}-") as folder:
        new = Path(folder) / "new"
        with closing(_connect(new)) as db:
            db.executescript(_SCHEMA)
        with suppress(FileExistsError):
            os.link(new, path)


def _connect(path: Path) -> sqlite3.Connection:
    """Transactions are IMMEDIATE: one that begins with reading could be refused later instead of waiting its turn."""
    return sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level="IMMEDIATE", check_same_thread=False)


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """What goes wrong with the disk or the file becomes a DataError."""
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CANTOPEN) & 0xFF  # the rest is detail
        advice = _ADVICE.get(code, _OTHER)
        raise DataError(f"episodes cannot be kept in {path}: {error}; {advice}") from error
