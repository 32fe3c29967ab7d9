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

from sleepy.artifacts import digest_of
from sleepy.errors import DataError

BUSY_SECONDS = 60.0  # how long one process waits for the others' commits, each of which takes milliseconds
APPLICATION = 0x736C7079  # "slpy" in the file's header: no other program's database is taken for ours


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


def now() -> str:
    """The time as an episode has it: UTC, to the microsecond, so that times sort as texts do."""
    return datetime.now(UTC).isoformat(timespec="microseconds")


COLUMNS = tuple(f.name for f in fields(Episode))

# One entry a version of the file: the statements that lead to it from the version before. Entries are only ever added.
# A column that a later version adds needs a default, here and in Episode.
VERSIONS: tuple[tuple[str, ...], ...] = (
    (
        f"PRAGMA application_id = {APPLICATION}",
        """CREATE TABLE episodes (
            digest TEXT PRIMARY KEY NOT NULL, run TEXT NOT NULL, task TEXT NOT NULL, family TEXT NOT NULL,
            pattern TEXT NOT NULL, attempt INTEGER NOT NULL, prompt TEXT NOT NULL, model TEXT NOT NULL,
            adapter TEXT NOT NULL, before TEXT NOT NULL, after TEXT NOT NULL, diff TEXT NOT NULL,
            verdict TEXT NOT NULL, prompt_tokens INTEGER NOT NULL, completion_tokens INTEGER NOT NULL,
            milliseconds INTEGER NOT NULL, time TEXT NOT NULL)""",
        "CREATE INDEX episodes_by_task ON episodes (task, time)",
        "CREATE INDEX episodes_by_time ON episodes (time)",
    ),
)


class EpisodeStore:
    """An open file of episodes; `open_episodes` makes it. Each thread has a connection of its own; a process forked
    from this one has to open the file anew."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._own = threading.local()
        self._open: list[sqlite3.Connection] = []

    def __enter__(self) -> EpisodeStore:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections of all threads."""
        while self._open:
            self._open.pop().close()

    def _db(self) -> sqlite3.Connection:
        if not hasattr(self._own, "db"):
            self._own.db = _connect(self.path)
            self._open.append(self._own.db)
        db: sqlite3.Connection = self._own.db
        return db

    def write(self, episode: Episode) -> None:
        """Store one episode. When this returns it is on the disk."""
        self.write_all([episode])

    def write_all(self, episodes: Iterable[Episode]) -> int:
        """Store all episodes or, when something goes wrong, none; how many were not there yet."""
        marks = ", ".join("?" * (len(COLUMNS) + 1))
        statement = f"INSERT OR IGNORE INTO episodes (digest, {', '.join(COLUMNS)}) VALUES ({marks})"
        with _explained(self.path), _transaction(self._db()) as db:
            return sum(db.execute(statement, (e.digest, *astuple(e))).rowcount for e in episodes)

    def episodes(self) -> Iterator[Episode]:
        """All episodes, oldest first."""
        with _explained(self.path):
            statement = f"SELECT {', '.join(COLUMNS)} FROM episodes ORDER BY time, attempt, digest"
            for row in self._db().execute(statement):
                yield Episode(**dict(zip(COLUMNS, row, strict=True)))

    def newest(self, count: int) -> list[Episode]:
        """The last `count` episodes, newest first."""
        columns = ", ".join(COLUMNS)
        statement = f"SELECT {columns} FROM episodes ORDER BY time DESC, attempt DESC, digest DESC LIMIT ?"
        with _explained(self.path):
            rows = self._db().execute(statement, (count,)).fetchall()
        return [Episode(**dict(zip(COLUMNS, row, strict=True))) for row in rows]

    def counts(self) -> dict[str, dict[str, int]]:
        """Family -> verdict -> number of episodes."""
        found: dict[str, dict[str, int]] = defaultdict(dict)
        statement = "SELECT family, verdict, count(*) FROM episodes GROUP BY family, verdict ORDER BY family"
        with _explained(self.path):
            for family, verdict, number in self._db().execute(statement):
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
        with _explained(self.path):
            return {task: bool(passed) for task, passed in self._db().execute(statement, (run, last))}


def open_episodes(path: Path, *, create: bool = True) -> EpisodeStore:
    """The episodes in `path`: a new file where there is none (with `create`), an older one brought up to date. Any
    number of processes may do so at once.

    Raises DataError for a file that is damaged, newer than this program or not ours, which is left as it was, and for
    one that cannot be had.
    """
    path = path.expanduser()
    with _explained(path):
        # In this order: a process that makes the file does so before there is a -wal.
        wal = path.with_name(path.name + "-wal")
        if wal.exists() and wal.stat().st_size and not path.exists():  # SQLite would add it to the new file
            raise DataError(
                f"{wal} is there without {path}, which was moved or deleted: it holds that file's last episodes. "
                f"Bring the file back, or move {wal} away too"
            )
        if create and not path.exists():
            _create(path)
        if not path.is_file():
            raise DataError(f"there are no episodes in {path}: no such file. Name the file with episodes=<path>")
        if _version(path) < len(VERSIONS):
            with closing(_connect(path)) as db:
                _update(db)
    return EpisodeStore(path)


def _create(path: Path) -> None:
    """A new file, in place whole or not at all; when another process was first, its file stays."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}-") as folder:
        new = Path(folder) / "new"
        with closing(_connect(new)) as db:
            db.execute("PRAGMA journal_mode = WAL")  # the file remembers it
            _update(db)
        with suppress(FileExistsError):
            os.link(new, path)


def _version(path: Path) -> int:
    """The version of a file that is ours and whole. It is opened for reading only: a connection that may write would
    change the file when it is closed."""
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=BUSY_SECONDS)) as db:
        version: int = db.execute("PRAGMA user_version").fetchone()[0]
        if db.execute("PRAGMA application_id").fetchone()[0] != APPLICATION:
            raise DataError(f"{path} holds no episodes, but another program's data. Name another file: episodes=<path>")
        if version > len(VERSIONS):
            raise DataError(
                f"{path} has version {version}, this sleepy knows versions up to {len(VERSIONS)}. It was left as it "
                "was: use a newer sleepy, or name another file with episodes=<path>"
            )
        found = db.execute("PRAGMA quick_check(1)").fetchone()[0]
        if found != "ok":
            raise sqlite3.DatabaseError(f"malformed: {found}")
    return version


def _update(db: sqlite3.Connection) -> None:
    """Bring a file from whatever version it has to the newest, in one step that other processes see whole."""
    with _transaction(db):
        for number, statements in enumerate(VERSIONS, 1):
            if db.execute("PRAGMA user_version").fetchone()[0] < number:
                for statement in (*statements, f"PRAGMA user_version = {number}"):
                    db.execute(statement)


def _connect(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)


@contextmanager
def _transaction(db: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    """BEGIN IMMEDIATE waits for its turn here; a transaction that begins with reading could be refused later."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield db
        db.execute("COMMIT")
    except BaseException:
        with suppress(sqlite3.Error):  # SQLite has rolled back by itself when the disk is full
            db.execute("ROLLBACK")
        raise


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """What goes wrong with the disk or the file comes out as a DataError."""
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        found = str(getattr(error, "strerror", None) or error)  # without a path, whose words are not meant
        for words, advice in (
            (("full", "No space left"), "free some disk space, then start again"),
            (("locked", "busy"), "end the program that holds it (a browser of SQLite files, a stuck run)"),
            (("not a database", "malformed"), f"it was left as it was. Move {path.name}* away, or restore them"),
            (
                ("readonly", "unable to open", "Permission", "Read-only", "Not a directory", "File exists"),
                "give write permission, or name another file with episodes=<path>",
            ),
        ):
            if any(word in found for word in words):
                raise DataError(f"episodes cannot be kept in {path}: {found}; {advice}") from error
        raise DataError(f"episodes cannot be kept in {path}: {found}") from error
