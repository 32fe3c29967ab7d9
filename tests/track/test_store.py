from __future__ import annotations

import shutil
import sqlite3
import time
from collections.abc import Callable
from multiprocessing.context import ForkServerContext
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from sleepy.errors import SleepyError
from sleepy.options import problems_of
from sleepy.track import store as store_module
from sleepy.track.mlflow import Mlflow
from sleepy.track.tracker import Tracker

KEY = "a 'quoted' \"key\""


def client_of(folder: Path) -> MlflowClient:
    return MlflowClient(f"sqlite:///{folder}/mlflow.db")


def job(number: int, barrier: Barrier, folder: str) -> tuple[str, str]:
    barrier.wait()
    tracker = Mlflow(folder=folder).open()
    barrier.wait()
    parent = tracker.parent(KEY, "the sweep")
    with tracker.run(name=f"job {number}", parent=parent) as run:
        run.params({"number": number})
        barrier.wait()
        run.dataset("koans", "0" * 64, "koans.jsonl", 42, "evaluation")
        for n in range(1, 21):
            run.metrics({"loss": 1 / n}, step=n)
    return parent, run.id


def test_four_processes_meet_a_fresh_store(tmp_path: Path, at_once: Callable[..., Any]) -> None:
    answers = at_once(4, job, str(tmp_path / "new"))
    client, (parent,) = client_of(tmp_path / "new"), {parent for parent, _ in answers}
    Mlflow(folder=str(tmp_path / "new")).open().close_parent(KEY, {}, finished=True)
    found = client.get_run(parent)
    assert found.info.status == "FINISHED" and "sleepy.killed" not in found.data.tags
    assert len(client.search_runs([found.info.experiment_id])) == 5
    jobs = [client.get_run(run_id) for _, run_id in answers]
    assert sorted(run.data.params["number"] for run in jobs) == ["0", "1", "2", "3"]
    for run in jobs:
        assert run.data.tags["mlflow.parentRunId"] == parent
        assert len(client.get_metric_history(run.info.run_id, "loss")) == 20
        assert [used.dataset.name for used in run.inputs.dataset_inputs] == ["koans"]


def opens(folder: str) -> None:
    Mlflow(folder=folder).open()


def test_a_process_killed_while_it_creates_the_database_leaves_none(
    tmp_path: Path, processes: ForkServerContext
) -> None:
    process = processes.Process(target=opens, args=(str(tmp_path),))
    process.start()
    while not any(path.stat().st_size > 200_000 for path in tmp_path.glob("mlflow.db*.part")):  # of almost a million
        time.sleep(0.001)
        assert process.is_alive() and not (tmp_path / "mlflow.db").exists()
    process.kill()
    process.join()
    assert not (tmp_path / "mlflow.db").exists()
    with Mlflow(folder=str(tmp_path)).open().run(name="afterwards") as run:
        run.metrics({"x": 1.0})


def test_artifacts_lie_beside_the_database_in_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "my füße" / "#1 'x'"
    with Mlflow(folder="my füße/#1 'x'").open().run(name="a") as run:
        run.text("hello", "a b/ü.txt")
    (found,) = (folder / "mlruns").rglob("ü.txt")
    assert found.read_text() == "hello"
    assert found.relative_to(folder / "mlruns").parts[1:3] == (run.id, "artifacts")
    assert not (tmp_path / "mlruns").exists()


def promoted_in(folder: Path) -> Tracker:
    """A new store with a run that has an artifact and a promoted adapter."""
    tracker = Mlflow(folder=str(folder)).open()
    with tracker.run(name="first") as run:
        run.text("hello", "adapter/a.txt")
    assert tracker.promote(run.id, "model", replacing=None) == 1
    return tracker


def adapter_in_use(tracker: Tracker) -> tuple[Path, str]:
    """Where it lies, and what is in it."""
    found = tracker.promoted("model")
    assert found
    return found.source, (found.source / "a.txt").read_text()


@pytest.mark.parametrize("kept", [False, True])
def test_a_project_that_was_moved_or_copied_keeps_its_runs_and_writes_beside_them(
    tmp_path: Path, kept: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    a, b = tmp_path / "a", tmp_path / "b ü"
    promoted_in(a)
    shutil.copytree(a, b) if kept else a.rename(b)
    capsys.readouterr()
    tracker = Mlflow(folder=str(b)).open()
    assert f"{b} was moved or copied from {a}: its 1 runs now point to" in capsys.readouterr().err
    place, text = adapter_in_use(tracker)
    assert place.is_relative_to(b) and text == "hello"
    with tracker.run(name="second") as run:
        run.text("new", "b.txt")
    with Mlflow(folder=str(b), experiment="other").open().run(name="third") as other:
        other.text("new", "b.txt")
    assert {p.parts[-3] for p in (b / "mlruns").rglob("b.txt")} == {run.id, other.id}
    assert capsys.readouterr().err == "" and a.exists() == kept  # said once; nothing is written to the former place
    if kept:
        assert adapter_in_use(Mlflow(folder=str(a)).open())[0].is_relative_to(a)


def test_artifacts_that_did_not_move_along_stay_where_they_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a, b, c = tmp_path / "a", tmp_path / "b", tmp_path / "c"
    promoted_in(a)
    b.mkdir()
    (a / "mlflow.db").rename(b / "mlflow.db")  # the artifacts are on a disk of their own
    assert adapter_in_use(Mlflow(folder=str(b)).open())[0].is_relative_to(a)
    # a project that went on in its former place, before places were corrected, has runs in both
    shutil.copytree(a / "mlruns", c / "mlruns")
    shutil.copyfile(b / "mlflow.db", c / "mlflow.db")
    with Mlflow(folder=str(b)).open().run(name="later") as run:
        run.text("late", "late.txt")
    shutil.copyfile(b / "mlflow.db", c / "mlflow.db")
    tracker = Mlflow(folder=str(c)).open()
    assert adapter_in_use(tracker)[0].is_relative_to(c)
    assert client_of(c).get_run(run.id).info.artifact_uri == (a / "mlruns/1" / run.id / "artifacts").as_uri()


def test_an_experiment_opens_in_the_view_of_training_but_the_users_choice_stays(copied: Mlflow, tmp_path: Path) -> None:
    client = client_of(tmp_path)
    number = client.get_experiment_by_name("sleepy").experiment_id
    assert client.get_experiment(number).tags["mlflow.experimentKind"] == "custom_model_development"
    client.set_experiment_tag(number, "mlflow.experimentKind", "genai_development")
    copied.open()
    assert client.get_experiment(number).tags["mlflow.experimentKind"] == "genai_development"


def sqlite(folder: Path, words: str) -> sqlite3.Connection:
    connection = sqlite3.connect(folder / "mlflow.db", isolation_level=None)
    connection.execute(words)
    return connection


def replaced(path: Path, by: Callable[[Path], Any]) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    by(path)


@pytest.mark.parametrize(
    ("spoil", "words", "cause"),
    [
        # SQLite's own errors: MLflow would wrap them, after trying for two minutes.
        (
            lambda folder: (folder / "mlflow.db").write_text("not a database, but longer than its header " * 10),
            "file is not a database.*must be intact",
            sqlite3.DatabaseError,
        ),
        (
            lambda folder: replaced(folder / "mlflow.db", Path.mkdir),
            "unable to open database file.*must be writable",
            sqlite3.OperationalError,
        ),
        (
            lambda folder: sqlite(folder, "BEGIN EXCLUSIVE"),
            "database is locked.*another program",
            sqlite3.OperationalError,
        ),
        (lambda folder: FileLock(folder / ".sleepy.lock").acquire(), "could not be acquired.*another", TimeoutError),
        (lambda folder: replaced(folder, Path.touch), "runs cannot be recorded in .*[Ee]xists", OSError),
        (
            lambda folder: sqlite(folder, "UPDATE alembic_version SET version_num = 'older'"),
            "mlflow db upgrade",
            MlflowException,
        ),
        (
            lambda folder: client_of(folder).delete_experiment("1"),
            "must be in the 'active' state. Current state is deleted",
            MlflowException,
        ),
    ],
)
def test_a_store_that_cannot_be_used_is_explained(
    copied: Mlflow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spoil: Any, words: str, cause: type
) -> None:
    monkeypatch.setattr(store_module, "BUSY_SECONDS", 0.1)
    monkeypatch.setattr(store_module, "LOCK_SECONDS", 0.1)
    held = spoil(tmp_path)
    with pytest.raises(SleepyError, match=words) as caught, copied.open().run(name="a"):
        pass
    assert isinstance(caught.value.__cause__, cause)
    del held


def test_what_cannot_be_written_is_explained(copied: Mlflow, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    def small(connection: Any, *_: Any) -> None:  # SQLite finds "no space" where the file would have to grow
        connection.execute("PRAGMA max_page_count = 1")

    tracker = copied.open()
    event.listen(Engine, "checkout", small)
    try:
        with pytest.raises(SleepyError, match=r"database or disk is full.*have room"), tracker.run(name="a") as run:
            for step in range(50):
                run.metrics({f"loss/{n}": 0.5 for n in range(1000)}, step=step)
    finally:
        event.remove(Engine, "checkout", small)
    with pytest.raises(SleepyError, match="runs cannot be recorded"), tracker.run(name="b") as run:
        (tmp_path / "mlruns").rename(tmp_path / "moved")
        (tmp_path / "mlruns").write_text("in the way")
        run.text("hello", "a.txt")
    assert "Traceback" not in capfd.readouterr().err  # MLflow logs its own otherwise


def test_unusable_options_are_named(tmp_path: Path) -> None:
    empty = ["track.folder must not be empty", "track.experiment must not be empty"]
    assert problems_of(Mlflow(folder="", experiment=" "), "track") == empty
    assert problems_of(Mlflow(), "track") == []
    with pytest.raises(SleepyError, match=r"100% contains % or \?"):
        Mlflow(folder=str(tmp_path / "100%")).open()
