"""The place runs are kept in: one SQLite file and a folder of artifacts, made once, under a lock."""

from __future__ import annotations

import logging
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sleepy.errors import SleepyError

if TYPE_CHECKING:
    from filelock import BaseFileLock
    from mlflow.tracking import MlflowClient

DATABASE, ARTIFACTS = "mlflow.db", "mlruns"
LOCK_SECONDS = 120.0  # making the database takes about two seconds, anything else under the lock far less
BUSY_SECONDS = 20.0  # the patience MLflow itself has with a database that another program writes to


@dataclass(frozen=True)
class Store:
    """An open store. `folder` is absolute; `experiment` is the MLflow id of the experiment."""

    folder: Path
    experiment: str
    client: MlflowClient
    lock: BaseFileLock

    @contextmanager
    def using(self) -> Iterator[MlflowClient]:
        """The client; what goes wrong with the disk or the database comes out as a SleepyError."""
        with _explained(self.folder):
            yield self.client

    @contextmanager
    def locked(self) -> Iterator[MlflowClient]:
        """The client, with the store's lock held against other processes (not for long)."""
        with _held(self.lock, self.folder), self.using() as client:
            yield client


def database_uri(folder: Path) -> str:
    """The address under which MLflow finds the database of an absolute folder."""
    return f"sqlite:///{(folder / DATABASE).as_posix()}"


def open_store(folder: Path, experiment: str) -> Store:
    """Open the store in `folder`, making folder, database and experiment where they are missing.

    Any number of processes may do so at once. Raises SleepyError where it cannot be had.
    """
    folder = folder.expanduser().resolve()
    if any(sign in str(folder) for sign in "%?"):
        raise SleepyError(f"track.folder: found {folder}, but a database address cannot hold % or ?; choose another")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # read when MLflow is imported
    from filelock import FileLock
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
    from mlflow.tracking import MlflowClient

    # It announces every new database, and prints a traceback for each error that is explained here.
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
    uri = database_uri(folder)
    with _explained(folder, opening=True):
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / ".sleepy.lock", timeout=LOCK_SECONDS)
        with _held(lock, folder):
            _ready(folder)
            # Through the store, because a client would put the artifacts under the current folder.
            store = SqlAlchemyStore(uri, (folder / ARTIFACTS).as_uri())
            known = store.get_experiment_by_name(experiment)
            if known is not None and known.lifecycle_stage != "active":
                raise SleepyError(
                    f"track.experiment: {experiment!r} was deleted in MLflow; restore it with `mlflow experiments "
                    f"restore --experiment-id {known.experiment_id}` in {folder}, or choose another name"
                )
            number = known.experiment_id if known else store.create_experiment(experiment)
    return Store(folder, number, MlflowClient(uri, registry_uri=uri), lock)


def _ready(folder: Path) -> None:
    """Make the database if there is none, and fail now where SQLite cannot use it: MLflow would try for two minutes."""
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    database = folder / DATABASE
    if not database.exists() or not database.stat().st_size:
        # MLflow never recovers from a database half made, so a process killed meanwhile must not leave one.
        partial = folder / f"{DATABASE}.part"
        partial.unlink(missing_ok=True)
        SqlAlchemyStore(f"sqlite:///{partial.as_posix()}", (folder / ARTIFACTS).as_uri()).engine.dispose()
        partial.replace(database)
    with closing(sqlite3.connect(database, timeout=BUSY_SECONDS)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("SELECT count(*) FROM sqlite_master")
        connection.rollback()


@contextmanager
def _held(lock: BaseFileLock, folder: Path) -> Iterator[None]:
    from filelock import Timeout

    try:
        lock.acquire()
    except Timeout:
        raise SleepyError(
            f"waited {LOCK_SECONDS:.0f} s for {lock.lock_file}, which another process of sleepy holds; "
            f"end that process, or choose another track.folder than {folder}"
        ) from None
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _explained(folder: Path, *, opening: bool = False) -> Iterator[None]:
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import DBAPIError

    try:
        yield
    except (sqlite3.Error, DBAPIError, OSError) as error:
        raise SleepyError(_explanation(folder, error)) from error
    except MlflowException as error:
        if isinstance(error.__cause__, (DBAPIError, OSError)):
            raise SleepyError(_explanation(folder, error.__cause__)) from error
        if opening:  # a database of another version of MLflow, a name that it refuses
            raise SleepyError(f"{folder / DATABASE}: {error.message}") from error
        raise


def _explanation(folder: Path, error: Exception) -> str:
    found = str(getattr(error, "orig", error))
    for words, advice in (
        (("full", "No space left"), "free some space, then start again"),
        (("locked",), "close the program that holds the database (a browser of SQLite files, a stuck run)"),
        (("not a database", "malformed"), "move the damaged file away, or restore it from a copy"),
        (("readonly", "unable to open", "Permission", "Read-only"), "give write permission, or set track.folder"),
    ):
        if any(word in found for word in words):
            return f"runs cannot be recorded in {folder}: {found}; {advice}"
    return f"runs cannot be recorded in {folder}: {found}"
