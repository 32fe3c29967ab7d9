from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from sleepy.track import tracker as tracker_module
from sleepy.track.mlflow import Mlflow
from sleepy.track.process import is_alive, this_process
from sleepy.track.sweeps import Sweep
from sleepy.track.tracker import Tracker

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

CLOSES = """
import atexit, socket, sys
called = []
def refuse(*address, **options):
    called.append(address)
    raise OSError("no network here")
socket.socket.connect = socket.getaddrinfo = refuse

from sleepy.track.mlflow import Mlflow
tracker = Mlflow(folder=sys.argv[1]).open()
parent = tracker.parent("closes", "sweep")
atexit.register(tracker.close_parent, "closes", {"report/sweep.md": "| job |"}, finished=False)
with tracker.run(name="good", parent=parent, tags={"sleepy.words": "seed=0"}):
    pass
from mlflow.telemetry.utils import is_telemetry_disabled
print(parent, called, is_telemetry_disabled())
with tracker.run(name="bad", parent=parent):
    sys.exit(1)
"""


def status(client: MlflowClient, *run_ids: str) -> list[str]:
    return [client.get_run(run_id).info.status for run_id in run_ids]


def sweep(folder: str, answer: Connection) -> None:
    tracker = Mlflow(folder=folder).open()
    parent = tracker.parent("key", "sweep", {"experiment": "smoke"})
    with tracker.run(name="job", parent=parent) as run, tracker.run(name="a stream's step", parent=run.id) as step:
        answer.send([parent, run.id, step.id])
        time.sleep(600)


def test_a_sweep_killed_with_9_is_marked_at_the_next_start(
    shared: Tracker, client: MlflowClient, folder: Path, processes: ForkServerContext
) -> None:
    here, there = processes.Pipe()
    process = processes.Process(target=sweep, args=(str(folder), there))
    process.start()
    run_ids = here.recv()
    Mlflow(folder=str(folder)).open()
    assert status(client, *run_ids) == ["RUNNING"] * 3
    process.kill()
    process.join()
    Mlflow(folder=str(folder)).open()
    assert status(client, *run_ids) == ["KILLED"] * 3
    for run_id in run_ids:
        assert "its process was gone at" in client.get_run(run_id).data.tags["sleepy.killed"]
    assert client.get_run(run_ids[0]).data.tags["experiment"] == "smoke"


def test_a_sweep_can_be_closed_at_exit_without_a_network(shared: Tracker, client: MlflowClient, folder: Path) -> None:
    # pytest, CI and MLflow have variables that turn telemetry off
    hidden = ("PYTEST", "CI", "GITHUB_", "MLFLOW_", "DO_NOT_TRACK")
    plain = {name: value for name, value in os.environ.items() if not name.startswith(hidden)}
    plain["PYTHONPATH"] = str(Path(__file__).resolve().parents[2])
    done = subprocess.run([sys.executable, "-c", CLOSES, folder], env=plain, capture_output=True, text=True)
    parent, said = done.stdout.split(" ", 1)
    assert (done.returncode, said, done.stderr) == (1, "[] True\n", "")
    assert status(client, parent) == ["FAILED"]
    assert Path(client.download_artifacts(parent, "report/sweep.md")).read_text() == "| job |"
    (good,) = shared.jobs("closes").items()
    assert (good[0], good[1].info.run_name) == ("seed=0", "good")


@pytest.fixture
def left(client: MlflowClient) -> Iterator[Any]:
    """Makes runs that a process has left behind: by default one that had this process's number a day ago."""
    made = []

    def leave(experiment: str | None = None, **tags: str) -> str:
        dead = this_process() | {"sleepy.started": str(time.time() - 86400)}
        named = {name.replace("_", "."): value for name, value in tags.items()}
        number = experiment or client.get_experiment_by_name("sleepy").experiment_id
        made.append(str(client.create_run(number, tags=dead | named).info.run_id))
        return made[-1]

    yield leave
    for run_id in made:
        client.set_terminated(run_id)


def test_only_this_hosts_dead_are_marked(folder: Path, client: MlflowClient, left: Any) -> None:
    runs = {
        left(): "KILLED",
        left(experiment="0", sleepy_pid="999999999"): "KILLED",
        left(sleepy_host="another-machine"): "RUNNING",
        left(**this_process()): "RUNNING",
        client.create_run("0").info.run_id: "RUNNING",  # somebody else's, without our tags
    }
    finished = left()
    client.set_terminated(finished)
    Mlflow(folder=str(folder), experiment="other").open()
    assert status(client, *runs, finished) == [*runs.values(), "FINISHED"]


def test_a_run_that_ends_while_others_look_is_not_marked(
    shared: Tracker, client: MlflowClient, left: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = left()

    def ends_just_now(tags: Any) -> bool:
        client.set_terminated(job, "FINISHED")
        return False

    monkeypatch.setattr(tracker_module, "is_alive", ends_just_now)
    shared.mark_killed()
    assert status(client, job) == ["FINISHED"]


def test_a_parent_lives_as_long_as_a_child_does_and_goes_on(shared: Tracker, client: MlflowClient, left: Any) -> None:
    elsewhere, parent = left(experiment="0", sleepy_sweep="again"), left(sleepy_sweep="again")
    child = left(mlflow_parentRunId=parent, sleepy_host="another-machine")
    shared.mark_killed()
    assert status(client, parent, elsewhere) == ["RUNNING", "KILLED"]
    client.set_terminated(child)
    shared.mark_killed()
    assert status(client, parent) == ["KILLED"]
    assert shared.parent("again", "another name") == parent
    assert "sleepy.killed" not in client.get_run(parent).data.tags
    shared.mark_killed()
    assert status(client, parent) == ["RUNNING"]  # it is this process's now


@pytest.mark.parametrize(("finished", "expected"), [(True, "FINISHED"), (False, "FAILED")])
def test_a_sweep_ends_as_its_jobs_did_and_has_those_that_it_took(
    shared: Tracker, client: MlflowClient, left: Any, monkeypatch: pytest.MonkeyPatch, finished: bool, expected: str
) -> None:
    monkeypatch.setattr(tracker_module, "_TAG_RUNS", 2)  # so that three need more than one tag
    key = f"finished: {finished}"
    shared.close_parent(key, {}, finished=finished)  # of a sweep that nobody has begun
    assert shared.jobs(key) == {}
    parent = shared.parent(key, "sweep")
    earlier = [left() for _ in range(3)] if finished else []
    own = left(mlflow_parentRunId=parent, sleepy_words="seed=1")
    newer = left(mlflow_parentRunId=parent, sleepy_words="seed=1")
    shared.close_parent(key, {}, finished=finished, taken=earlier)
    assert status(client, parent) == [expected]
    assert {run.info.run_id for run in shared.children(client.get_run(parent))} == {*earlier, own, newer}
    assert [run.info.run_id for run in shared.jobs(key).values()] == [newer]


def test_the_newest_finished_run_of_a_job_counts_if_its_artifacts_are_there(
    shared: Tracker, client: MlflowClient, left: Any
) -> None:
    runs = [left(sleepy_job=job) for job in ("one", "one", "one", "two", "gone")]
    for run_id, word in zip(runs, ("FINISHED", "FINISHED", "FAILED", "KILLED", "FINISHED"), strict=True):
        client.log_text(run_id, "", "some.txt")
        client.set_terminated(run_id, word)
    shutil.rmtree(client.get_run(runs[4]).info.artifact_uri.removeprefix("file://"))
    assert {job: run.info.run_id for job, run in shared.finished().items()} == {"one": runs[1]}
    assert list(shared.finished("one")) == ["one"] and shared.finished("two") == {}
    newest = {job: run.info.run_id for job, run in shared.attempted().items()}
    assert newest == {"one": runs[2], "two": runs[3], "gone": runs[4]}


def test_shards_have_no_job_in_common_and_together_all() -> None:
    jobs = list(range(11))
    parts = [Sweep(shard=f"{number}/3").part(jobs) for number in (1, 2, 3)]
    assert parts == [[0, 3, 6, 9], [1, 4, 7, 10], [2, 5, 8]] and Sweep().part(jobs) == jobs
    assert Sweep(shard="12/12").part(jobs) == []
    for shard in ("0/3", "4/3", "3", "1/0", "a/b", "1/3/5", "-1/3"):
        (problem,) = Sweep(shard=shard).problems()
        assert problem.startswith(f"shard: got {shard!r}, must be")


def test_this_process_is_named_and_a_zombie_counts_as_gone() -> None:
    tags = this_process()
    assert (tags["sleepy.host"], tags["sleepy.pid"]) == (socket.gethostname(), str(os.getpid()))
    assert is_alive(tags)
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    tags |= {"sleepy.pid": str(child.pid), "sleepy.started": str(psutil.Process(child.pid).create_time())}
    assert is_alive(tags)
    child.kill()
    while psutil.Process(child.pid).status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.001)
    assert not is_alive(tags)
    child.communicate()
    assert not is_alive(tags)
