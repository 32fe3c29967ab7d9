from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from sleepy.track import tracker as tracker_module
from sleepy.track.mlflow import Mlflow
from sleepy.track.process import this_process
from sleepy.track.tracker import Tracker

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

SWEEP = """
import json, sys, time
from sleepy.track.mlflow import Mlflow
tracker = Mlflow(folder=sys.argv[1]).open()
parent = tracker.parent("key", "sweep", {"experiment": "smoke"})
with tracker.run(name="job", parent=parent) as run:
    print(json.dumps([parent, run.id]), flush=True)
    time.sleep(600)
"""

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
atexit.register(tracker.close_parent, "closes")
with tracker.run(name="good", parent=parent):
    pass
from mlflow.telemetry.utils import is_telemetry_disabled
print(called, is_telemetry_disabled())
with tracker.run(name="bad", parent=parent):
    sys.exit(1)
"""


def status(client: MlflowClient, run_id: str) -> str:
    return str(client.get_run(run_id).info.status)


def test_a_sweep_killed_with_9_is_marked_at_the_next_start(shared: Tracker, client: MlflowClient, nursery: Any) -> None:
    folder = str(shared._store.folder)
    process = nursery.start(SWEEP, folder)
    while not process.said().endswith("\n"):
        time.sleep(0.01)
        assert not process.said("err")
    parent, job = json.loads(process.said())
    Mlflow(folder=folder).open()
    assert status(client, job) == status(client, parent) == "RUNNING"
    process.kill()
    while psutil.Process(process.pid).status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.01)
    Mlflow(folder=folder).open()  # nobody has waited for it yet: a zombie counts as gone
    assert status(client, job) == status(client, parent) == "KILLED"
    for run_id in (job, parent):
        assert "its process was gone at" in client.get_run(run_id).data.tags["sleepy.killed"]
    tags = client.get_run(parent).data.tags
    assert (tags["sleepy.children"], tags["sleepy.children.killed"]) == ("1", "1")
    assert tags["experiment"] == "smoke"
    assert process.wait() == -9


def test_a_sweep_can_be_closed_at_exit_without_a_network(shared: Tracker, plain: dict[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", CLOSES, shared._store.folder], env=plain, capture_output=True, text=True, timeout=300
    )
    assert (done.returncode, done.stdout, done.stderr) == (1, "[] True\n", "")
    parent = shared._sweep("closes")
    assert parent is not None and parent.info.status == "FAILED"
    found = {name: value for name, value in parent.data.tags.items() if name.startswith("sleepy.children")}
    assert found == {"sleepy.children": "2", "sleepy.children.finished": "1", "sleepy.children.failed": "1"}


def left_running(client: MlflowClient, **tags: str) -> str:
    """A run that a process has left behind; by default one with this process's number, but older."""
    tags = {name.replace("_", "."): value for name, value in tags.items()}
    hour_ago = {"sleepy.started": str(time.time() - 86400)}
    experiment = client.get_experiment_by_name("sleepy").experiment_id
    return str(client.create_run(experiment, tags=this_process() | hour_ago | tags).info.run_id)


def test_only_this_hosts_dead_are_marked(shared: Tracker, client: MlflowClient) -> None:
    reused = left_running(client)
    elsewhere = left_running(client, sleepy_host="another-machine")
    alive = left_running(client, **this_process())
    unknown = str(client.create_run("0").info.run_id)  # somebody else's, without our tags
    in_another = str(client.create_run("0", tags=this_process() | {"sleepy.pid": "999999999"}).info.run_id)
    finished = left_running(client)
    client.set_terminated(finished)
    Mlflow(folder=str(shared._store.folder), experiment="other").open()
    assert [status(client, run_id) for run_id in (reused, elsewhere, alive, unknown, in_another, finished)] == [
        "KILLED", "RUNNING", "RUNNING", "RUNNING", "KILLED", "FINISHED",
    ]  # fmt: skip
    for run_id in (elsewhere, alive, unknown):
        client.set_terminated(run_id)


def test_a_run_that_ends_while_others_look_is_not_marked(
    shared: Tracker, client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = left_running(client)

    def ends_just_now(tags: Any) -> bool:
        client.set_terminated(job, "FINISHED")
        return False

    monkeypatch.setattr(tracker_module, "is_alive", ends_just_now)
    shared.mark_killed()
    assert status(client, job) == "FINISHED"


def test_a_parent_lives_as_long_as_a_child_does(shared: Tracker, client: MlflowClient) -> None:
    parent = left_running(client, sleepy_sweep="long")
    child = left_running(client, mlflow_parentRunId=parent, sleepy_host="another-machine")
    shared.mark_killed()
    assert status(client, parent) == "RUNNING"
    client.set_terminated(child)
    shared.mark_killed()
    assert status(client, parent) == "KILLED"


def test_a_parent_is_found_again_and_goes_on(shared: Tracker, client: MlflowClient) -> None:
    parent = left_running(client, sleepy_sweep="again")
    shared.mark_killed()
    assert "sleepy.killed" in client.get_run(parent).data.tags
    assert shared.parent("again", "another name") == parent
    found = client.get_run(parent)
    assert found.info.status == "RUNNING" and "sleepy.killed" not in found.data.tags
    assert found.data.tags["sleepy.started"] == this_process()["sleepy.started"]  # it is this process's now
    shared.mark_killed()
    assert status(client, parent) == "RUNNING"
    assert shared.parent("other", "x") != parent
    for key in ("again", "other"):
        shared.close_parent(key)


@pytest.mark.parametrize(
    ("children", "expected"), [("FINISHED FINISHED", "FINISHED"), ("FINISHED KILLED", "FAILED"), ("", "FAILED")]
)
def test_a_sweep_is_finished_when_every_job_is(
    shared: Tracker, client: MlflowClient, children: str, expected: str
) -> None:
    parent = shared.parent(f"jobs: {children}", "sweep")
    for word in children.split():
        client.set_terminated(left_running(client, mlflow_parentRunId=parent), word)
    shared.close_parent(f"jobs: {children}")
    assert status(client, parent) == expected
    assert client.get_run(parent).data.tags["sleepy.children"] == str(len(children.split()))


def test_closing_a_sweep_that_nobody_began_is_nothing(shared: Tracker) -> None:
    shared.close_parent("never heard of")


def test_this_process_is_named() -> None:
    tags = this_process()
    assert (tags["sleepy.host"], tags["sleepy.pid"]) == (socket.gethostname(), str(os.getpid()))
    assert 0 <= time.time() - float(tags["sleepy.started"]) < 86400
