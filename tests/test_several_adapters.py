"""Several adapters from the command line: one for each pattern, killed and gone on with, then shared and routed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.adapters.made import random_adapter, tiny_base
from tests.jobs import ROOT, runs, sleepy

pytestmark = pytest.mark.slow

PATTERNS = ["float_and_integer", "index_not_usize"]
SMALL = ["model=smollm2-135m", "tasks.families=[type_mismatch]", "tasks.per_level=1", "engine.threads=1"]
EACH = [
    "stages=[fetch,prove,baseline,train]",
    *SMALL, "+experiment=adapters_51", f"stream.patterns=[{','.join(PATTERNS)}]", "stream.limit=0", "data.examples=2",
    "train.steps=2", "train.batch_size=1", "train.checkpoint_every=1", "lora.r=2",
]  # fmt: skip


def children(folder: Path, parent: Any) -> list[Any]:
    return [r for r in runs(folder) if r.data.tags.get("mlflow.parentRunId") == parent.info.run_id]


def artifacts(run: Any) -> Path:
    return Path(run.info.artifact_uri.removeprefix("file://"))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any, Any, str]:
    """The folder of a run that was killed in its second pattern, that run, the one that went on, and what it said."""
    folder = tmp_path_factory.mktemp("each")
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "start_new_session": True}
    child = subprocess.Popen([sys.executable, str(ROOT / "run.py"), *EACH], cwd=folder, **quiet)
    deadline = time.monotonic() + 400
    while child.poll() is None and time.monotonic() < deadline:
        if len(list(folder.glob("outputs/checkpoints/*/state.pt"))) == 2:
            break
        time.sleep(0.02)
    os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    again = sleepy(folder, *EACH)
    assert again.returncode == 0, again.stderr
    parents = [r for r in runs(folder) if "mlflow.parentRunId" not in r.data.tags]
    killed, whole = parents
    return folder, killed, whole, again.stderr


def test_each_pattern_is_a_child_and_a_killed_run_goes_on(trained: tuple[Path, Any, Any, str]) -> None:
    folder, killed, whole, said = trained
    assert (killed.info.status, whole.info.status) == ("KILLED", "FINISHED")
    (done, half), found = children(folder, killed), children(folder, whole)
    assert (done.info.status, half.info.status) == ("FINISHED", "KILLED")
    assert [c.info.run_name for c in found] == PATTERNS and all(c.info.status == "FINISHED" for c in found)
    assert "going on after step 2 " in said and said.count("going on after step") == 2
    digests = [c.data.tags["adapter.digest"] for c in found]
    assert digests[0] == done.data.tags["adapter.digest"] != digests[1]
    base = json.loads((artifacts(whole) / "scores" / "baseline.json").read_text())["results"]
    for child in found:
        own = [r["passed"] for r in base if r["pattern"] == child.info.run_name]
        assert own and child.data.metrics["own/baseline"] == sum(own) / len(own)
        assert child.data.params["lora.r"] == "2" and child.data.metrics["own/koans"] >= 1
        assert {"train/loss", "own/pass_rate", "own/baseline"} <= child.data.metrics.keys()
        assert (artifacts(child) / "adapter" / "adapter_model.safetensors").is_file()
    assert whole.data.metrics["adapters"] == 2
    assert len(json.loads((artifacts(whole) / "adapters.json").read_text())["data"]) == 2


def test_they_are_shared_averaged_and_routed(trained: tuple[Path, Any, Any, str]) -> None:
    folder, _, whole, _ = trained
    given = ["+experiment=share_51", f"stream.adapters=[runs:/{whole.info.run_id}]"]
    done = sleepy(folder, "-m", *SMALL, *given, "routing=none,oracle")
    assert done.returncode == 0, done.stderr
    merged, routed = runs(folder)[-2:]
    assert (merged.data.tags["routing"], routed.data.tags["routing"]) == ("none", "oracle")
    for run in (merged, routed):
        assert run.info.status == "FINISHED" and 0 < run.data.metrics["share/error"] < 1
        assert {f"share/error/{name}" for name in PATTERNS} <= run.data.metrics.keys()
        assert (artifacts(run) / "memory" / "share.safetensors").is_file()
        assert run.data.metrics["adapters"] == 2 and "train/loss" not in run.data.metrics
    assert (artifacts(merged) / "adapter" / "adapter_model.safetensors").is_file()
    assert "routing/right" not in merged.data.metrics and routed.data.metrics["routing/right_share"] == 1
    assert {p.stem for p in folder.glob("multirun/*/*/1/export/adapters/*.gguf")} == set(PATTERNS)
    assert not list(folder.glob("multirun/*/*/0/export/adapters"))
    assert "share, 2 adapters, merge=average" in done.stdout and "share, 2 adapters, routing=oracle" in done.stdout


def test_what_does_not_go_together_is_said_before_anything_is_loaded(tmp_path: Path) -> None:
    base = tiny_base(tmp_path / "base")
    for i, name in enumerate(PATTERNS):
        random_adapter(base, tmp_path / "adapters" / name, seed=i)
    given = ["stream=given", "algo=none", "stream.adapters=[adapters]"]
    for words, said in (
        (["+experiment=share_51"], "stream.adapters: found none, expected PEFT folders or MLflow runs"),
        ([*given, "stream.adapters=[gone]"], "gone: found no adapter"),
        (given, "choose how they become one, merge=average"),
        ([*given, "algo=naive", "merge=average"], "stream=given trains nothing: use algo=none or share"),
        (["stream=each"], "choose how they become one, merge=average"),
        (["routing=oracle"], "expected stream=each or given"),
    ):
        done = sleepy(tmp_path, *words, "cache=cache")
        assert done.returncode == 1 and said in done.stderr, done.stderr
        assert not (tmp_path / "cache").exists()
