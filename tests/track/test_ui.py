from __future__ import annotations

import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from sleepy.track.mlflow import Mlflow
from sleepy.track.tracker import Tracker

PROGRAM = Path(sys.executable).with_name("mlflow")


def test_the_line_fits_the_place(
    shared: Tracker, folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    there = f"--backend-store-uri sqlite:///{folder}/mlflow.db"
    monkeypatch.delenv("MLFLOW_BACKEND_STORE_URI", raising=False)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("PATH", str(PROGRAM.parent))
    assert shared.ui_line() == "mlflow ui"
    monkeypatch.setenv("PATH", str(tmp_path))
    assert shared.ui_line() == f"{PROGRAM} ui"
    monkeypatch.setenv("MLFLOW_BACKEND_STORE_URI", "sqlite:///elsewhere.db")
    assert shared.ui_line() == f"{PROGRAM} ui {there}"
    monkeypatch.chdir(PROGRAM.parents[1])
    assert shared.ui_line() == f"bin/mlflow ui {there}"


def ask(port: int, path: str) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=20) as answer:
        return answer.read().decode()


@pytest.mark.slow
def test_a_bare_mlflow_ui_shows_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow.tracking import MlflowClient

    monkeypatch.delenv("MLFLOW_BACKEND_STORE_URI", raising=False)
    folder = tmp_path / "the store"
    tracker = Mlflow(folder=str(folder)).open()
    with tracker.run(name="a run to look at", tags={"algo": "naive"}) as run:
        run.metrics({"eval/pass_rate": 0.5})
        run.table([{"koan": "a", "passed": True}], "koans")
        run.text("weights", "adapter/adapter_config.json")
    tracker.promote(run.id, "coder", replacing=None)
    uri = shlex.split(tracker.ui_line())[-1]  # from elsewhere
    assert MlflowClient(uri).get_run(run.id).info.run_name == "a run to look at"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    monkeypatch.chdir(folder)
    line = f"{tracker.ui_line()} --port {port} --workers 1"
    assert "--backend-store-uri" not in line
    env = os.environ | {"MLFLOW_DISABLE_TELEMETRY": "true"}
    server = subprocess.Popen(line, shell=True, env=env, start_new_session=True, stderr=subprocess.PIPE)
    try:
        for _ in range(240):
            try:
                assert ask(port, "/health") == "OK"
                break
            except OSError:
                assert server.poll() is None, server.stderr and server.stderr.read().decode()
                time.sleep(0.5)
        assert "<title>MLflow</title>" in ask(port, "/")
        found = json.loads(ask(port, "/api/2.0/mlflow/experiments/get-by-name?experiment_name=sleepy"))["experiment"]
        assert {"key": "mlflow.experimentKind", "value": "custom_model_development"} in found["tags"]
        run_found = json.loads(ask(port, f"/api/2.0/mlflow/runs/get?run_id={run.id}"))["run"]
        assert run_found["data"]["metrics"][0]["value"] == 0.5
        assert json.loads(ask(port, f"/get-artifact?path=koans.json&run_uuid={run.id}"))["data"] == [["a", True]]
        file = "/model-versions/get-artifact?path=adapter_config.json&name=coder&version=1"
        assert ask(port, file) == "weights"
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.communicate(timeout=60)
