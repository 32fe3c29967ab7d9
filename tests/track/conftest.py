"""A real store for the tests that only write to it, and real processes for the others."""

from __future__ import annotations

import multiprocessing
import sqlite3
from collections.abc import Callable
from contextlib import closing
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from sleepy.track.mlflow import Mlflow
from sleepy.track.tracker import Tracker

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient


@pytest.fixture(scope="session")
def processes() -> ForkServerContext:
    """Starts processes from one that has imported MLflow, which takes seconds."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["mlflow.store.tracking.sqlalchemy_store", "mlflow.tracking", "psutil"])
    return context


@pytest.fixture
def at_once(processes: ForkServerContext) -> Callable[..., list[Any]]:
    """Calls a function of this kind in `count` processes and returns their answers: f(number, barrier, *arguments)."""

    def run(count: int, function: Callable[..., Any], *arguments: Any) -> list[Any]:
        barrier, answers = processes.Barrier(count, timeout=60), processes.SimpleQueue()
        started = [
            processes.Process(target=_answer, args=(answers, function, number, barrier, *arguments))
            for number in range(count)
        ]
        for process in started:
            process.start()
        for process in started:
            process.join()
        assert [process.exitcode for process in started] == [0] * count
        return [answers.get() for _ in started]

    return run


def _answer(answers: Any, function: Callable[..., Any], *arguments: Any) -> None:
    answers.put(function(*arguments))


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the shared store."""
    return tmp_path_factory.mktemp("store")


@pytest.fixture(scope="session")
def shared(folder: Path) -> Tracker:
    return Mlflow(folder=str(folder)).open()


@pytest.fixture(scope="session")
def client(shared: Tracker, folder: Path) -> MlflowClient:
    """MLflow's own view of the shared store."""
    from mlflow.tracking import MlflowClient

    return MlflowClient(f"sqlite:///{folder}/mlflow.db")


@pytest.fixture
def copied(tmp_path: Path, shared: Tracker, folder: Path) -> Mlflow:
    """A store of its own, as a copy of the shared one: creating one takes a second."""
    with closing(sqlite3.connect(folder / "mlflow.db")) as source, sqlite3.connect(tmp_path / "mlflow.db") as target:
        source.backup(target)
        target.execute("UPDATE experiments SET artifact_location = ?", (str(tmp_path / "mlruns"),))
    target.close()
    return Mlflow(folder=str(tmp_path))
