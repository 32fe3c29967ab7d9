"""Where runs are kept: one SQLite file and a folder of artifacts, created once, under a lock."""

from __future__ import annotations

import logging
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sleepy.errors import DiskError, SleepyError
from sleepy.files import whole
from sleepy.progress import say
from sleepy.track._moved import mend_places

if TYPE_CHECKING:
    from filelock import BaseFileLock
    from mlflow.tracking import MlflowClient

DATABASE, ARTIFACTS = "mlflow.db", "mlruns"
LOCK_SECONDS = 120.0  # creating the database takes about two seconds, everything else under the lock far less
BUSY_SECONDS = 20.0  # MLflow's own patience with a database that another program is writing to
_KIND = "mlflow.experimentKind"  # without it MLflow's UI may open its GenAI view


@dataclass(frozen=True)
class Store:
    """An open store. `folder` is absolute; `experiment` is MLflow's id of the experiment.

    Errors of MLflow, the database and the disk inside of `client()` and `locked()` are raised as a DiskError.
    """

    folder: Path
    experiment: str
    mlflow: MlflowClient
    lock: BaseFileLock

    @contextmanager
    def client(self) -> Iterator[MlflowClient]:
        """The client, its errors explained."""
        with _explained(self.folder):
            yield self.mlflow

    @contextmanager
    def locked(self) -> Iterator[MlflowClient]:
        """The client, while no other process holds the store's lock. Keep it short."""
        with _explained(self.folder), self.lock:
            yield self.mlflow


def database_uri(folder: Path) -> str:
    """MLflow's address of the database in an absolute folder."""
    return f"sqlite:///{(folder / DATABASE).as_posix()}"


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
    from filelock import FileLock
    from mlflow.entities import ExperimentTag
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
    from mlflow.tracking import MlflowClient

    # It announces every new database, and prints a traceback for each error that is explained here.
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
    uri, artifacts = database_uri(folder), (folder / ARTIFACTS).as_uri()
    with _explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / ".sleepy.lock", timeout=LOCK_SECONDS)
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
            if not known or _KIND not in known.tags:
                store.set_experiment_tag(number, ExperimentTag(_KIND, "custom_model_development"))
    return Store(folder, number, MlflowClient(uri, registry_uri=uri), lock)


@contextmanager
def _explained(folder: Path) -> Iterator[None]:
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import DBAPIError

    try:
        yield
    except (MlflowException, DBAPIError, sqlite3.Error, OSError) as error:
        raise DiskError(
            f"runs cannot be recorded in {folder}: {getattr(error.__cause__ or error, 'orig', error)}. The folder must "
            f"be writable and have room, and its {DATABASE} must be intact and not locked by another program. "
            "Otherwise choose another track.folder"
        ) from error
