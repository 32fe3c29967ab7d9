"""Runs and artifacts behind a real MLflow server: nothing that reads them needs the disk that they lie on."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from sleepy.errors import ConfigError, NetworkError
from sleepy.track.mlflow import Mlflow
from tests.jobs import sleepy
from tests.sweep.test_sweep import rows

QUICK = ["train.checkpoint_every=1", "stages=[fetch,prove,baseline,train,evaluate]", "ability=false"]


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@contextmanager
def serving(folder: Path, database: str, *words: str) -> Iterator[str]:
    """An MLflow server with its artifacts in `folder`; gives its address."""
    uri = f"http://127.0.0.1:{(port := free_port())}"
    argv = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", database, "--workers", "1", *words]
    with (folder / "server.log").open("w") as log:
        server = subprocess.Popen([*argv, "--port", str(port)], cwd=folder, stdout=log, stderr=log)
        try:
            end = time.monotonic() + 120
            while True:
                try:
                    urllib.request.urlopen(f"{uri}/health", timeout=5).close()
                    break
                except OSError:
                    assert server.poll() is None and time.monotonic() < end, (folder / "server.log").read_text()
                    time.sleep(0.3)
            yield uri
        finally:
            server.terminate()
            server.wait(60)


@contextmanager
def postgres() -> Iterator[str]:
    """A PostgreSQL of its own, as Debian's package has it; gives MLflow's address of it."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not found:
        pytest.skip("no PostgreSQL here: apt-get install postgresql")
    user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []  # it does not run as root
    with tempfile.TemporaryDirectory(prefix="sleepy-pg-") as name:
        place = Path(name)
        if user:
            shutil.chown(place, "postgres")
        control = [*user, found[-1] / "pg_ctl", "-D", place / "data", "-w"]
        subprocess.run([*user, found[-1] / "initdb", "-D", place / "data", "-A", "trust", "-U", "mlflow"], check=True)
        options = f"-c listen_addresses='' -k {place} -c fsync=off"
        subprocess.run([*control, "-o", options, "-l", place / "log", "start"], check=True)
        try:
            yield f"postgresql+psycopg2://mlflow@/postgres?host={place}"
        finally:
            subprocess.run([*control, "-m", "immediate", "stop"], check=True)


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server with a SQLite file behind it."""
    folder = tmp_path_factory.mktemp("server")
    with serving(folder, f"sqlite:///{folder / 'server.db'}", "--artifacts-destination", str(folder / "kept")) as found:
        yield found


def test_what_one_machine_records_another_reads(uri: str, tmp_path: Path) -> None:
    adapter = tmp_path / "adapter"
    (adapter / "deep").mkdir(parents=True)
    (adapter / "weights.bin").write_bytes(b"w" * 1000)
    (adapter / "deep" / "note.txt").write_text("new")
    here, there = (Mlflow(folder=str(tmp_path / name), uri=uri).open() for name in ("here", "there"))
    with here.run(name="a", tags={"sleepy.job": "j"}) as run:
        run.artifact(adapter)
        run.text("hello", "scores/a.json")
        run.dataset("koans", "d" * 64, "conf", 3, "evaluation")
        assert run.size == 1000 + len("new") + len("hello")
    assert here.promote(run.id, "tiny model", replacing=None) == 1
    assert there.promote(run.id, "tiny model", replacing=None) is None
    shutil.rmtree(tmp_path / "here")
    found = there.promoted("tiny model")
    assert found is not None and (found.source / "weights.bin").read_bytes() == b"w" * 1000
    assert (found.source / "deep/note.txt").read_text() == "new" and found.source.is_relative_to(tmp_path / "there")
    stored = there.finished()["j"]
    assert there.files(stored, "scores/a.json").read_text() == "hello"
    assert not there.files(stored, "nothing").exists()
    assert there.ui_line() == uri and not (tmp_path / "there" / "mlflow.db").exists()


def test_a_file_is_brought_once_and_again_when_it_has_grown(uri: str, tmp_path: Path) -> None:
    tracker = Mlflow(folder=str(tmp_path), uri=uri).open()
    with tracker.run(name="b") as run:
        run.table([{"a": 1}], "t")
        stored = tracker.find(run.id)
        assert stored is not None
        copy = tracker.files(stored, "t.json")
        before = copy.stat()
        assert tracker.files(stored).joinpath("t.json").stat().st_mtime_ns == before.st_mtime_ns
        run.table([{"a": 2}], "t")
        assert tracker.files(stored, "t.json").stat().st_size > before.st_size


def test_what_is_no_server_and_a_server_that_takes_no_artifacts_are_refused(tmp_path: Path) -> None:
    with pytest.raises(NetworkError, match=r"track\.uri: .* does not answer"):
        Mlflow(folder=str(tmp_path), uri=f"http://127.0.0.1:{free_port()}").open()
    assert "must begin with http" in Mlflow(uri="sqlite:///x.db").problems()[0]
    done = sleepy(tmp_path, "track.uri=localhost", "stages=[fetch]")
    assert done.returncode == 1 and "track.uri must begin with http" in done.stderr


@pytest.mark.nightly
def test_a_server_that_keeps_artifacts_on_its_own_disk_is_refused(tmp_path: Path) -> None:
    own = ("--no-serve-artifacts", "--default-artifact-root", str(tmp_path / "own"))
    with serving(tmp_path, f"sqlite:///{tmp_path / 'server.db'}", *own) as uri, pytest.raises(ConfigError, match="own"):
        Mlflow(folder=str(tmp_path), uri=uri).open()


@pytest.mark.nightly
def test_a_sweep_of_two_processes_against_postgres_and_a_repair_with_what_was_promoted(
    tmp_path: Path, tiny_words: list[str]
) -> None:
    from mlflow import MlflowClient

    served, one, two = (tmp_path / name for name in ("served", "one", "two"))
    for folder in (served, one, two):
        folder.mkdir()
    with postgres() as database, serving(served, database, "--artifacts-destination", str(served / "k")) as uri:
        sweep = ["-m", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2", *tiny_words, *QUICK, f"track.uri={uri}"]
        done = sleepy(one, *sweep, "seed=0,1")
        assert done.returncode == 0, done.stderr
        assert not (one / "mlflow.db").exists() and "View run" not in done.stdout
        ids = {row[-1] for row in rows(done.stdout)[1:]}  # below the baseline
        assert len(ids) == 2
        shutil.rmtree(one)
        again = sleepy(two, *sweep, "seed=0,1,2")  # in another folder, with another cache of artifacts
        assert again.returncode == 0, again.stderr
        runs = [row[-1] for row in rows(again.stdout)[1:]]
        assert sorted(runs[:2]) == sorted(f"taken from {number}" for number in ids) and len(runs) == 3
        client = MlflowClient(uri)
        trained = [r for r in client.search_runs(["1"]) if "adapter.digest" in r.data.tags]
        assert len(trained) == 3 and all("mlflow-artifacts:" in run.info.artifact_uri for run in trained)
        run: Any = min(trained, key=lambda r: r.info.start_time)
        (two / "a.rs").write_text("pub fn f() -> u8 { 1u16 }\n")
        words = [word for word in tiny_words if word.startswith(("model", "cache"))]
        repair = [*words, "stages=[repair]", "file=a.rs", f"track.uri={uri}"]
        untouched = sleepy(two, *repair).stderr
        (name,) = re.findall(r"using (.*) \(no adapter is promoted\)", untouched)
        tracker = Mlflow(folder=str(two), uri=uri).open()
        assert tracker.promote(run.info.run_id, f"sleepy-{name}", replacing=None)
        mended = sleepy(two, *repair)
        assert mended.returncode == 0 and f"with the adapter of run {run.info.run_id}" in mended.stderr, mended.stderr
        page = sleepy(two, "stages=[report]", f"report.runs=[{run.info.run_id}]", f"track.uri={uri}")
        assert page.returncode == 0, page.stderr
