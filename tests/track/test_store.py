from __future__ import annotations

import json
import re
import sqlite3
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from sleepy.errors import SleepyError
from sleepy.schema import problems_of
from sleepy.track import _store
from sleepy.track.mlflow import Mlflow

JOB = """
import json, os, socket, sys, time
from pathlib import Path

called = []
def refuse(self, address):
    called.append(repr(address))
    raise OSError("no network here")
socket.socket.connect = refuse

folder, number = Path(sys.argv[1]), int(sys.argv[2])
from sleepy.track.mlflow import Mlflow
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
import mlflow.store.tracking.sqlalchemy_store  # the slow part, so that all come to the store at one moment
(folder / f"ready-{number}").touch()
while not (folder / "go").exists():
    time.sleep(0.002)
tracker = Mlflow(folder=str(folder)).open()
parent = tracker.parent("a 'quoted' \\"key\\"", "the sweep")
with tracker.run(name=f"job {number}", parent=parent) as run:
    run.params({"number": number})
    run.dataset("koans", "0" * 64, "koans.jsonl", 42, "evaluation")
    run.curve("loss", [1 / n for n in range(1, 201)])
from mlflow.telemetry.utils import is_telemetry_disabled
print(json.dumps([parent, run.id, called, is_telemetry_disabled()]))
"""


def test_four_processes_meet_a_fresh_store(tmp_path: Path, start: Any) -> None:
    jobs = [start(JOB, tmp_path, number) for number in range(4)]
    while not all((tmp_path / f"ready-{number}").exists() for number in range(4)):
        time.sleep(0.01)
        assert all(job.poll() is None for job in jobs), [job.stderr.read() for job in jobs if job.poll() is not None]
    (tmp_path / "go").touch()
    answers = []
    for job in jobs:
        out, err = job.communicate(timeout=120)
        assert (job.returncode, err) == (0, "")  # and nobody chatters
        parent, run_id, called, silent = json.loads(out)
        assert (called, silent) == ([], True)
        answers.append((parent, run_id))
    assert len({parent for parent, _ in answers}) == 1
    tracker = Mlflow(folder=str(tmp_path)).open()
    tracker.close_parent("a 'quoted' \"key\"")
    client = tracker._store.client
    parent = client.get_run(answers[0][0])
    assert parent.info.status == "FINISHED"
    assert parent.data.tags["sleepy.children.finished"] == parent.data.tags["sleepy.children"] == "4"
    assert len(client.search_runs([tracker._store.experiment])) == 5
    for number, (parent_id, run_id) in enumerate(answers):
        run = client.get_run(run_id)
        assert run.data.params == {"number": str(number)}
        assert run.data.tags["mlflow.parentRunId"] == parent_id
        assert len(client.get_metric_history(run_id, "loss")) == 200
        assert [used.dataset.name for used in run.inputs.dataset_inputs] == ["koans"]


def test_a_process_killed_while_it_makes_the_database_leaves_no_half_of_one(tmp_path: Path, start: Any) -> None:
    process = start("import sys; from sleepy.track.mlflow import Mlflow; Mlflow(folder=sys.argv[1]).open()", tmp_path)
    partial = tmp_path / "mlflow.db.part"
    while not (partial.exists() and partial.stat().st_size):
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.001)
    process.kill()
    process.wait()
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


def not_a_database(folder: Path) -> None:
    (folder / "mlflow.db").write_text("not a database, but longer than its header " * 10)


def a_file_in_the_way(folder: Path) -> None:
    folder.rmdir()
    folder.write_text("")


@pytest.mark.parametrize(
    ("spoil", "name", "words"),
    [
        (not_a_database, "store", "file is not a database.*move the damaged file away"),
        (a_file_in_the_way, "store", "runs cannot be recorded in .*store: .*[Ee]xists"),
        (lambda folder: (folder / "mlflow.db").mkdir(), "store", "unable to open database file; give write permission"),
        (lambda folder: None, "100%", "cannot hold % or"),
    ],
)
def test_an_unusable_folder_is_explained_at_once(tmp_path: Path, spoil: Any, name: str, words: str) -> None:
    folder = tmp_path / name
    folder.mkdir()
    spoil(folder)
    before = time.monotonic()
    with pytest.raises(SleepyError, match=words):
        Mlflow(folder=str(folder)).open()
    assert time.monotonic() - before < 10


@pytest.fixture
def option(tmp_path: Path, shared: Any) -> Mlflow:
    """A store of its own, as a copy of the shared one: making one takes a second."""
    source, target = sqlite3.connect(shared._store.folder / "mlflow.db"), sqlite3.connect(tmp_path / "mlflow.db")
    source.backup(target)
    target.execute("UPDATE experiments SET artifact_location = ?", (str(tmp_path / "mlruns"),))
    target.commit()
    source.close()
    target.close()
    return Mlflow(folder=str(tmp_path))


def test_a_locked_database_is_explained(option: Mlflow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_store, "BUSY_SECONDS", 0.1)
    holder = sqlite3.connect(tmp_path / "mlflow.db")
    holder.execute("BEGIN EXCLUSIVE")
    with pytest.raises(SleepyError, match="database is locked; close the program"):
        option.open()
    holder.close()


def test_a_full_disk_is_explained(option: Mlflow, capfd: pytest.CaptureFixture[str]) -> None:
    from sqlalchemy import event

    tracker = option.open()
    store = tracker._store.client._tracking_client.store

    @event.listens_for(store.engine, "connect")  # SQLite finds "no space" where the file would have to grow
    def small(connection: Any, _: Any) -> None:
        connection.execute("PRAGMA max_page_count = 1")

    store.engine.dispose()
    with (
        pytest.raises(SleepyError, match="database or disk is full; free some space"),
        tracker.run(name="fills the disk") as run,
    ):
        for _ in range(50):
            run.curve("loss", [0.5] * 1000)
    assert "Traceback" not in capfd.readouterr().err  # MLflow logs its own otherwise


def test_a_full_disk_under_the_artifacts_is_explained(option: Mlflow, tmp_path: Path) -> None:
    tracker = option.open()
    with pytest.raises(SleepyError, match="runs cannot be recorded"), tracker.run(name="a") as run:
        (tmp_path / "mlruns").write_text("in the way")
        run.text("hello", "a.txt")


def test_a_lock_that_is_held_is_explained(option: Mlflow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from filelock import FileLock

    monkeypatch.setattr(_store, "LOCK_SECONDS", 0.1)
    with FileLock(tmp_path / ".sleepy.lock"), pytest.raises(SleepyError, match="another process of sleepy holds"):
        option.open()


def test_a_deleted_experiment_is_explained(option: Mlflow) -> None:
    store = option.open()._store
    store.client.delete_experiment(store.experiment)
    with pytest.raises(SleepyError, match=f"'sleepy' was deleted in MLflow.*--experiment-id {store.experiment}"):
        option.open()


def test_a_database_of_another_mlflow_is_explained(option: Mlflow, tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "mlflow.db") as connection:
        connection.execute("UPDATE alembic_version SET version_num = 'older'")
    with pytest.raises(SleepyError, match="mlflow db upgrade"):
        option.open()


def test_empty_options_are_named() -> None:
    assert [line.split(":")[0] for line in problems_of(Mlflow(folder="", experiment=" "), "track")] == [
        "track.folder",
        "track.experiment",
    ]
    assert problems_of(Mlflow(), "track") == []


def test_the_yaml_states_the_defaults() -> None:
    import yaml

    text = (Path(__file__).parents[2] / "conf/track/mlflow.yaml").read_text()
    content = yaml.safe_load(text)
    assert {key: content[key] for key in ("folder", "experiment")} == {"folder": ".", "experiment": "sleepy"}
    assert set(content) == {"defaults", "_target_", "folder", "experiment"}
    assert len(re.findall("#", text)) == 2


def test_importing_the_option_is_light(start: Any) -> None:
    process: subprocess.Popen[str] = start(
        "import sys, sleepy.track.mlflow; print([m for m in ('mlflow', 'sqlalchemy', 'pandas') if m in sys.modules])"
    )
    assert process.communicate(timeout=60)[0] == "[]\n"
