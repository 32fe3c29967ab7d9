"""A real store for the tests that only write to it, and child processes for the others."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from sleepy.track._tracker import Tracker
from sleepy.track.mlflow import Mlflow

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

ROOT = Path(__file__).resolve().parents[2]
Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Tracker:
    return Mlflow(folder=str(tmp_path_factory.mktemp("store"))).open()


@pytest.fixture(scope="session")
def client(shared: Tracker) -> MlflowClient:
    """MLflow's own view of the shared store."""
    from mlflow.tracking import MlflowClient

    return MlflowClient(f"sqlite:///{shared._store.folder}/mlflow.db")


@pytest.fixture
def start() -> Iterator[Start]:
    """Start Python code in a process of its own, which sees nothing of pytest; it is gone when the test ends."""
    started = []
    hidden = ("PYTEST", "CI", "GITHUB_", "MLFLOW_", "DO_NOT_TRACK")
    env = {name: value for name, value in os.environ.items() if not name.startswith(hidden)}

    def start(code: str, *args: object) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", code, *map(str, args)],
            env=env | {"PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()
