"""Whole jobs from the command line on a real small model; on the default one with `-m nightly`."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.jobs import ROOT, SMALL, artifacts, own_cache, runs, sleepy

Done = subprocess.CompletedProcess[str]
STAGES = ("fetch", "prove", "baseline", "train", "evaluate", "gate", "export", "report")


def verdicts(run: Any) -> list[tuple[str, str]]:
    """(koan, result) of the run's table."""
    table = json.loads((artifacts(run) / "koans.json").read_text())
    at = {name: i for i, name in enumerate(table["columns"])}
    return [(row[at["koan"]], row[at["result"]]) for row in table["data"]]


def started(folder: Path, *words: str, until: Callable[[], object]) -> subprocess.Popen[str]:
    """A job in a session of its own, once `until()` holds or it has ended."""
    child = subprocess.Popen(
        [sys.executable, str(ROOT / "run.py"), *words], cwd=folder, text=True, stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    while child.poll() is None and not until():
        time.sleep(0.02)
    return child


@pytest.fixture(scope="module")
def smoke(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Done]:
    """The smoke job, done once for the tests that look at it."""
    folder = tmp_path_factory.mktemp("smoke")
    done = sleepy(folder, *SMALL)
    assert done.returncode == 0, done.stderr
    return folder, done


def test_the_terminal_says_what_came_out_and_where_it_is(smoke: tuple[Path, Done]) -> None:
    folder, done = smoke
    for said in ("baseline", "trained", "exact McNemar p", "95 % score interval", "no_loss", "mlflow ui"):
        assert said in done.stdout, said
    for stage in STAGES:
        assert stage in done.stderr
    (report,) = folder.glob("outputs/*/*/report.md")
    assert {p.name for p in report.parent.glob("*.png")} == {"koans.png", "families.png", "learning_curve.png"}
    exported = report.parent / "export"
    assert {p.name for p in exported.iterdir()} >= {"adapter.gguf", "Modelfile", "model-keep.gguf"}


def test_mlflow_has_everything_that_a_person_compares(smoke: tuple[Path, Done]) -> None:
    folder, _ = smoke
    (run,) = runs(folder)
    assert (run.info.status, run.info.run_name) == ("FINISHED", " ".join(SMALL))
    tags, metrics, params = run.data.tags, run.data.metrics, run.data.params
    assert (tags["experiment"], tags["algorithm"], tags["model"]) == ("smoke", "naive", "smollm2-135m")
    assert tags["gate"] in ("promoted", "refused") and tags["gate.reason"] and len(tags["adapter.digest"]) == 64
    assert params["lora.r"] == "8" and params["train.steps"] == "2" and params["model.name"] == "smollm2-135m"
    family = "eval/family/type_mismatch/pass_rate"
    for name in ("baseline/pass_rate", "eval/pass_rate", family, "compare/p_value", "train/loss", "gate/koans"):
        assert name in metrics
    for name in (
        "adapter/adapter_model.safetensors",
        "config/config.yaml",
        "config/overrides.txt",
        "data/mix.jsonl",
        "export/Modelfile",
        "koans.json",
        "record/packages.txt",
        "report/report.md",
        "report/koans.png",
    ):
        assert (artifacts(run) / name).is_file(), name
    assert len(verdicts(run)) == 3
    assert {d.dataset.name for d in run.inputs.dataset_inputs} == {"koans[3]", "mix"}
    assert not list((folder / "outputs").glob("checkpoints/*"))


def test_killed_in_training_it_resumes_to_the_same_adapter_and_verdicts(
    smoke: tuple[Path, Done], tmp_path: Path
) -> None:
    (whole,) = runs(smoke[0])
    child = started(tmp_path, *SMALL, until=lambda: list(tmp_path.glob("outputs/checkpoints/*/state.pt")))
    os.killpg(child.pid, signal.SIGKILL)
    child.communicate()
    assert list(tmp_path.glob("outputs/checkpoints/*/state.pt")) and not list(tmp_path.glob("outputs/*/*/adapter"))
    again = sleepy(tmp_path, *SMALL, "train.checkpoint_every=7")  # how often it is saved changes no number
    assert again.returncode == 0 and "esuming after step" in again.stderr
    killed, resumed = runs(tmp_path)
    assert (killed.info.status, resumed.info.status) == ("KILLED", "FINISHED")
    assert resumed.data.tags["adapter.digest"] == whole.data.tags["adapter.digest"]
    assert resumed.data.tags["gguf.digest"] == whole.data.tags["gguf.digest"]
    assert verdicts(resumed) == verdicts(whole)


def test_ctrl_c_leaves_a_checkpoint_and_says_how_to_go_on(tmp_path: Path) -> None:
    child = started(
        tmp_path, *SMALL, "train.steps=50", until=lambda: list(tmp_path.glob("outputs/checkpoints/*/state.pt"))
    )
    child.send_signal(signal.SIGINT)
    _, said = child.communicate()
    assert child.returncode == 130 and "Run the same command again" in said and "Traceback" not in said
    (run,) = runs(tmp_path)
    assert run.info.status == "KILLED"


def test_the_owners_sweep_is_a_parent_with_children_and_pays_for_one_baseline(tmp_path: Path) -> None:
    words = ["lora.r=8,16", "algo=share,replay"]
    done = sleepy(tmp_path, "-m", *words, *SMALL, "train.steps=1", "data.examples=3", "report.pictures=false")
    assert done.returncode == 0, done.stderr
    parent, *children = runs(tmp_path)
    assert parent.data.tags["sleepy.sweep"] and parent.info.status == "FINISHED"
    assert [c.data.tags["mlflow.parentRunId"] for c in children] == [parent.info.run_id] * 4
    assert {(c.data.params["lora.r"], c.data.tags["algorithm"]) for c in children} == {
        (r, a) for r in ("8", "16") for a in ("share", "replay")
    }
    assert all(c.info.status == "FINISHED" for c in children)
    table = done.stdout[done.stdout.index("| job |") :].splitlines()
    rows = [line.split(" | ") for line in table if line.startswith("|")]
    assert [row[0] for row in rows[2:]] == ["| baseline"] + [
        f"| lora.r={r} algo={a}" for r in (8, 16) for a in ("share", "replay")
    ]
    assert [row[-1] for row in rows[3:]] == [f"{c.info.run_id} |" for c in children]
    assert (artifacts(parent) / "report" / "sweep.md").read_text() in done.stdout
    page = (artifacts(parent) / "report" / "results.html").read_text()
    assert "4 variants (lora.r × algo)" in page and "4 variants" in parent.data.tags["mlflow.note.content"]
    (written,) = tmp_path.glob("multirun/*/*/results.html")
    assert written.read_text() == page and str(written) in done.stderr


def test_a_failing_job_says_failed_and_the_sweep_goes_on(tmp_path: Path) -> None:
    words = ["-m", "experiment=smoke", "stages=[prove]", "sandbox.compile_memory_mb=64,4096"]
    done = sleepy(tmp_path, *words)
    parent, broken, sound = runs(tmp_path)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert (parent.info.status, broken.info.status, sound.info.status) == ("FAILED", "FAILED", "FINISHED")
    assert "SandboxError" in (artifacts(broken) / "traceback.txt").read_text()
    row = re.search(r"\| sandbox.compile_memory_mb=64 \| failed \| SandboxError: .*\| (\w+) \|", done.stdout)
    assert row and row[1] == broken.info.run_id and "1 of 2 jobs did not finish" in done.stdout
    line = next(line for line in done.stdout.splitlines() if line.startswith("    python run.py"))
    assert shlex.split(line) == ["python", "run.py", *words]
    assert sleepy(tmp_path, *words).returncode == 1  # the failed job is tried again, the other one is not
    assert [run.info.status for run in runs(tmp_path)[3:]] == ["FAILED", "FAILED"]


@pytest.mark.nightly
def test_cycles_killed_in_training_and_at_the_gate_end_with_the_same_adapter(tmp_path: Path) -> None:
    cycles = [
        "experiment=sleep_cycle", "cycles=2", "model=smollm2-135m", "tasks=koans_mini", "tasks.per_level=1",
        "tasks.families=[type_mismatch]", "train.batch_size=2", "train.steps=1", "gate.koans=2", "data.probe=2",
        "data.examples=2",
    ]  # fmt: skip
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    for folder in (whole, killed):
        folder.mkdir()
    done = sleepy(whole, *cycles, own_cache(whole))
    assert done.returncode == 0 and "gated on" in done.stdout, done.stderr
    cache = own_cache(killed)
    for sign in ("outputs/checkpoints/*/state.pt", "outputs/*/*/cycle-2/adapter/sleepy.json"):
        child = started(killed, *cycles, cache, until=lambda sign=sign: list(killed.glob(sign)))
        os.killpg(child.pid, signal.SIGKILL)
        child.communicate()
        assert child.returncode == -signal.SIGKILL
    done = sleepy(killed, *cycles, cache)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("esuming after step 1 ") == 2  # no cycle is learned twice
    digests = [runs(folder)[-1].data.tags.get("adapter.digest") for folder in (whole, killed)]
    assert digests[0] == digests[1] and len(runs(killed)) == 3


def test_a_baseline_alone_is_a_table(tmp_path: Path) -> None:
    done = sleepy(tmp_path, "experiment=smoke", "stages=[fetch,prove,baseline]")
    assert done.returncode == 0 and "level 1" in done.stdout
    (run,) = runs(tmp_path)
    assert f"run {run.info.run_id}" in done.stdout and (artifacts(run) / "report" / "baseline.md").is_file()


@pytest.mark.nightly
@pytest.mark.timeout(4800)
def test_the_main_job_on_the_default_model(tmp_path: Path) -> None:
    done = sleepy(tmp_path)
    assert done.returncode == 0, done.stderr
    (run,) = runs(tmp_path)
    assert run.data.tags["model"] == "qwen2.5-coder-0.5b" and run.data.metrics["eval/tasks"] == 42
    assert 0 < run.data.metrics["baseline/pass_rate"] < 1
    assert "same greedy text" in run.data.tags["export.proof"] or "near-tie" in run.data.tags["export.proof"]
