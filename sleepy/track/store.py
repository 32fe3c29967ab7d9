"""Where runs are kept: one SQLite file and a folder of artifacts, created once, under a lock; or a server's store."""

from __future__ import annotations

import logging
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sleepy.errors import DiskError, NetworkError, SleepyError
from sleepy.files import whole
from sleepy.progress import say
from sleepy.track._copies import copied, files_of
from sleepy.track._moved import mend_places

if TYPE_CHECKING:
    from filelock import BaseFileLock
    from mlflow.entities import Run as Stored
    from mlflow.tracking import MlflowClient

DATABASE, ARTIFACTS = "mlflow.db", "mlruns"
LOCK_SECONDS = 120.0  # creating the database takes about two seconds, everything else under the lock far less
BUSY_SECONDS = 20.0  # MLflow's own patience with a database that another program is writing to
KIND = {"mlflow.experimentKind": "custom_model_development"}  # without it MLflow's UI may open its GenAI view
COPIES = f"{ARTIFACTS}/copies"  # of a server's artifacts


@dataclass(frozen=True)
class Store:
    """An open store. `address` is the database's or the server's; `folder` is absolute; `experiment` is MLflow's id of
    the experiment. The artifacts of a `remote` store are not on this machine's disk.

    Errors of MLflow, the database and the disk inside of `client()`, `locked()` and `files()` are raised as DiskError,
    or as NetworkError where a server was asked.
    """

    address: str
    folder: Path
    experiment: str
    mlflow: MlflowClient
    lock: BaseFileLock
    remote: bool = False

    @contextmanager
    def client(self) -> Iterator[MlflowClient]:
        """The client, its errors explained."""
        with explained(self.address if self.remote else self.folder):
            yield self.mlflow

    @contextmanager
    def locked(self) -> Iterator[MlflowClient]:
        """The client, while no other process holds the store's lock. Keep it short."""
        with self.client() as client, self.lock:
            yield client

    def size(self, run_id: str) -> int:
        """Bytes of a run's artifacts."""
        with self.client() as client:
            return sum(found.file_size or 0 for found in files_of(client, run_id))

    def files(self, run: Stored, within: str = "") -> Path:
        """Where a run's artifacts lie on this machine, or one file or folder of them, if the run has it. What is behind
        a server is brought first."""
        if not self.remote:
            return _local(run.info.artifact_uri) / within
        with self.client() as client:
            (self.folder / COPIES).mkdir(parents=True, exist_ok=True)
            return copied(client, run.info.run_id, within, self.folder / COPIES)


def database_uri(folder: Path) -> str:
    """MLflow's address of the database in an absolute folder."""
    return f"sqlite:///{(folder / DATABASE).as_posix()}"


def lock_in(folder: Path) -> BaseFileLock:
    """The lock of the store in a folder."""
    from filelock import FileLock

    return FileLock(folder / ".sleepy.lock", timeout=LOCK_SECONDS)


def open_store(folder: Path, experiment: str) -> Store:
    """Open the store in `folder`. Creates the folder, the database and the experiment where they are missing. Where a
    store was moved here with its artifacts, the places of these are corrected once.

    Any number of processes may do so at once. Raises SleepyError if the store cannot be used.
    """
    folder = folder.expanduser().resolve()
    if any(sign in str(folder) for sign in "%?"):
        raise SleepyError(
            f"track.folder: {folder} contains % or ?, which a database address must not. Choose another folder"
        )
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # read when MLflow is imported
    from mlflow.entities import ExperimentTag
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
    from mlflow.tracking import MlflowClient

    # It announces every new database, and prints a traceback for each error that is explained here.
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
    uri, artifacts = database_uri(folder), (folder / ARTIFACTS).as_uri()
    with explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
        lock = lock_in(folder)
        with lock:
            database = folder / DATABASE
            if not database.exists() or not database.stat().st_size:
                with whole(database) as partial:  # MLflow cannot repair a database that was created by half
                    SqlAlchemyStore(f"sqlite:///{partial.as_posix()}", artifacts).engine.dispose()
            with closing(sqlite3.connect(database, timeout=BUSY_SECONDS)) as connection:
                connection.execute("BEGIN IMMEDIATE")  # if SQLite cannot use it, fail now: MLflow tries for two minutes
            # Through the store, because a client would put the artifacts under the current folder.
            store = SqlAlchemyStore(uri, artifacts)
            with closing(sqlite3.connect(database, timeout=BUSY_SECONDS)) as connection, connection:
                moved = mend_places(connection, folder / ARTIFACTS)
            for former, count in moved.items():
                told = f"{folder} was moved or copied from {former.parent}"
                say(f"{told}: its {count} runs now point to the artifacts here")
            known = store.get_experiment_by_name(experiment)
            number = known.experiment_id if known else store.create_experiment(experiment)
            for tag, kind in KIND.items():
                if not known or tag not in known.tags:
                    store.set_experiment_tag(number, ExperimentTag(tag, kind))
    return Store(uri, folder, number, MlflowClient(uri, registry_uri=uri), lock)


def _local(artifacts: str) -> Path:
    """The folder at an MLflow address of artifacts."""
    from mlflow.utils.file_utils import local_file_uri_to_path

    return Path(local_file_uri_to_path(artifacts))


@contextmanager
def explained(place: Path | str) -> Iterator[None]:
    """Errors inside of the block as those of a store in the folder `place`, or behind the server of that address."""
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import DBAPIError

    try:
        yield
    except (MlflowException, DBAPIError, sqlite3.Error, OSError) as error:
        if isinstance(place, str):
            raise NetworkError(f"the MLflow server {place} does not do what it is asked: {error}") from error
        raise DiskError(
            f"runs cannot be recorded in {place}: {getattr(error.__cause__ or error, 'orig', error)}. The folder must "
            f"be writable and have room, and its {DATABASE} must be intact and not locked by another program. "
            "Otherwise choose another track.folder"
        ) from error
