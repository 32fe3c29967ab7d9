from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from sleepy.errors import SleepyError
from sleepy.options import problems_of
from sleepy.track import store as store_module
from sleepy.track.mlflow import Mlflow

ROOT = Path(__file__).resolve().parents[2]

JOB = """
import json, sys, time
from pathlib import Path
from sleepy.track import store as store_module
from sleepy.track.mlflow import Mlflow

def together(what):  # the next step is one that all four take at a time
    Path(sys.argv[1], what + sys.argv[2]).touch()
    while len(list(Path(sys.argv[1]).glob(what + "[0-9]"))) < 4:
        time.sleep(0.001)

tracker = Mlflow(folder=sys.argv[1]).open()
together("parent")
parent = tracker.parent("a 'quoted' \\"key\\"", "the sweep")
with tracker.run(name=f"job {sys.argv[2]}", parent=parent) as run:
    run.params({"number": int(sys.argv[2])})
    together("dataset")
    run.dataset("koans", "0" * 64, "koans.jsonl", 42, "evaluation")
    run._log_metrics(("loss", 1 / n, n) for n in range(1, 201))
print(json.dumps([parent, run.id]))
"""

OPENS = "import sys; from sleepy.track.mlflow import Mlflow; Mlflow(folder=sys.argv[1]).open()"


def test_four_processes_meet_a_fresh_store(tmp_path: Path, nursery: Any) -> None:
    jobs = [nursery.start(JOB, tmp_path / "new", number) for number in range(4)]
    answers = []
    for job in jobs:
        assert (job.wait(), job.said("err")) == (0, "")  # and nobody chatters
        answers.append(json.loads(job.said()))
    assert len({parent for parent, _ in answers}) == 1
    tracker = Mlflow(folder=str(tmp_path / "new")).open()
    tracker.close_parent("a 'quoted' \"key\"")
    client = tracker.store.client
    parent = client.get_run(answers[0][0])
    assert parent.info.status == "FINISHED" and "sleepy.killed" not in parent.data.tags
    assert parent.data.tags["sleepy.children.finished"] == parent.data.tags["sleepy.children"] == "4"
    assert len(client.search_runs([tracker.store.experiment])) == 5
    for number, (parent_id, run_id) in enumerate(answers):
        run = client.get_run(run_id)
        assert run.data.params == {"number": str(number)}
        assert run.data.tags["mlflow.parentRunId"] == parent_id
        assert len(client.get_metric_history(run_id, "loss")) == 200
        assert [used.dataset.name for used in run.inputs.dataset_inputs] == ["koans"]


def test_a_process_killed_while_it_makes_the_database_leaves_no_half_of_one(tmp_path: Path, nursery: Any) -> None:
    process = nursery.start(OPENS, tmp_path)
    files = [tmp_path / "mlflow.db.part", tmp_path / "mlflow.db"]
    while not any(file.exists() and file.stat().st_size > 200_000 for file in files):  # of almost a million
        time.sleep(0.001)
    process.kill()
    assert process.wait() == -9
    assert [file.exists() for file in files] == [True, False]
    with Mlflow(folder=str(tmp_path)).open().run(name="afterwards") as run:
        run.metrics({"x": 1.0})


FULL = """
import resource, sys
from sleepy.errors import SleepyError
from sleepy.track import store as store_module
from sleepy.track.mlflow import Mlflow
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, resource.RLIM_INFINITY))
try:
    Mlflow(folder=sys.argv[1]).open()
except SleepyError as error:
    print(error)
"""


def test_a_disk_that_fills_while_the_database_is_made_is_explained(tmp_path: Path, nursery: Any) -> None:
    process = nursery.start(FULL, tmp_path)
    assert (process.wait(), process.said("err")) == (0, "")
    assert f"runs cannot be recorded in {tmp_path}: " in process.said()
    assert not (tmp_path / "mlflow.db").exists()


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
    source, target = sqlite3.connect(shared.store.folder / "mlflow.db"), sqlite3.connect(tmp_path / "mlflow.db")
    source.backup(target)
    target.execute("UPDATE experiments SET artifact_location = ?", (str(tmp_path / "mlruns"),))
    target.commit()
    source.close()
    target.close()
    return Mlflow(folder=str(tmp_path))


def test_a_locked_database_is_explained(option: Mlflow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "BUSY_SECONDS", 0.1)
    holder = sqlite3.connect(tmp_path / "mlflow.db")
    holder.execute("BEGIN EXCLUSIVE")
    with pytest.raises(SleepyError, match="database is locked; close the program"):
        option.open()
    holder.close()


def test_a_full_disk_is_explained(option: Mlflow, capfd: pytest.CaptureFixture[str]) -> None:
    from sqlalchemy import event

    tracker = option.open()
    store = tracker.store.client._tracking_client.store

    @event.listens_for(store.engine, "connect")  # SQLite finds "no space" where the file would have to grow
    def small(connection: Any, _: Any) -> None:
        connection.execute("PRAGMA max_page_count = 1")

    store.engine.dispose()
    with (
        pytest.raises(SleepyError, match="database or disk is full; free some space"),
        tracker.run(name="fills the disk") as run,
    ):
        for _ in range(50):
            run._log_metrics(("loss", 0.5, n) for n in range(1000))
    assert "Traceback" not in capfd.readouterr().err  # MLflow logs its own otherwise


def test_a_full_disk_under_the_artifacts_is_explained(option: Mlflow, tmp_path: Path) -> None:
    tracker = option.open()
    with pytest.raises(SleepyError, match="runs cannot be recorded"), tracker.run(name="a") as run:
        (tmp_path / "mlruns").write_text("in the way")
        run.text("hello", "a.txt")


def test_a_lock_that_is_held_is_explained(option: Mlflow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from filelock import FileLock

    monkeypatch.setattr(store_module, "LOCK_SECONDS", 0.1)
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

    text = (ROOT / "conf/track/mlflow.yaml").read_text()
    content = yaml.safe_load(text)
    assert {key: content[key] for key in ("folder", "experiment")} == {"folder": ".", "experiment": "sleepy"}
    assert set(content) == {"defaults", "_target_", "folder", "experiment"}


def test_importing_the_option_is_light() -> None:
    code = "import sys, sleepy.track.mlflow; print([m for m in ('mlflow', 'sqlalchemy', 'pandas') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("[]\n", "")
