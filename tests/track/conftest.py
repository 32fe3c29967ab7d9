"""A real store for the tests that only write to it, and real processes for the others."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from sleepy.track.mlflow import Mlflow
from sleepy.track.tracker import Tracker

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

ROOT = Path(__file__).resolve().parents[2]

NURSERY = """
import json, os, sys, traceback
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
import mlflow.store.tracking.sqlalchemy_store, pandas, psutil

for line in sys.stdin:
    order = json.loads(line)
    if "wait" in order:
        print(os.waitstatus_to_exitcode(os.waitpid(order["wait"], 0)[1]), flush=True)
        continue
    pid = os.fork()
    if pid:
        print(pid, flush=True)
        continue
    for number, name in enumerate(("out", "err"), start=1):
        os.dup2(os.open(f"{order['files']}.{name}", os.O_CREAT | os.O_WRONLY | os.O_TRUNC), number)
    code, sys.argv = 0, order["argv"]
    try:
        exec(order["run"], {"__name__": "__main__"})
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
"""


@dataclass
class Child:
    """A process made by the nursery."""

    nursery: Nursery
    pid: int
    files: Path

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)

    def wait(self) -> int:
        self.nursery.children.remove(self.pid)
        return self.nursery.ask({"wait": self.pid})

    def said(self, name: str = "out") -> str:
        path = self.files.with_name(f"{self.files.name}.{name}")
        return path.read_text() if path.exists() else ""


class Nursery:
    """A process that has imported MLflow, which takes seconds, and forks children that run a code at once."""

    def __init__(self, folder: Path, env: dict[str, str]) -> None:
        self.folder, self.numbers, self.children = folder, itertools.count(), set[int]()
        self.process = subprocess.Popen(
            [sys.executable, "-c", NURSERY], env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def ask(self, order: dict[str, Any]) -> int:
        assert self.process.stdin and self.process.stdout
        print(json.dumps(order), file=self.process.stdin, flush=True)
        return int(self.process.stdout.readline())

    def start(self, code: str, *args: object) -> Child:
        files = self.folder / str(next(self.numbers))
        pid = self.ask({"run": code, "argv": ["child", *map(str, args)], "files": str(files)})
        self.children.add(pid)
        return Child(self, pid, files)

    def close(self) -> None:
        for pid in self.children:  # of tests that failed
            os.kill(pid, signal.SIGKILL)
        self.process.communicate()


@pytest.fixture(scope="session")
def plain() -> dict[str, str]:
    """An environment without what pytest, CI and MLflow put into it, all of which turn telemetry off."""
    hidden = ("PYTEST", "CI", "GITHUB_", "MLFLOW_", "DO_NOT_TRACK")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(hidden)}
    return kept | {"PYTHONPATH": str(ROOT)}


@pytest.fixture(scope="session")
def nursery(tmp_path_factory: pytest.TempPathFactory, plain: dict[str, str]) -> Iterator[Nursery]:
    nursery = Nursery(tmp_path_factory.mktemp("nursery"), plain)
    yield nursery
    nursery.close()


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Tracker:
    return Mlflow(folder=str(tmp_path_factory.mktemp("store"))).open()


@pytest.fixture(scope="session")
def client(shared: Tracker) -> MlflowClient:
    """MLflow's own view of the shared store."""
    from mlflow.tracking import MlflowClient

    return MlflowClient(f"sqlite:///{shared._store.folder}/mlflow.db")
