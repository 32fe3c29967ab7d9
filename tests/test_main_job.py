"""Whole jobs from the command line: the small model in the tests, the default one once."""

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

from sleepy.episodes.store import open_episodes
from tests.jobs import ROOT, SMALL, own_cache, runs, sleepy

pytestmark = pytest.mark.slow


def verdicts(run: Any) -> list[tuple[str, str]]:
    """(koan, result) of the run's table."""
    table = json.loads((Path(run.info.artifact_uri.removeprefix("file://")) / "koans.json").read_text())
    at = {name: i for i, name in enumerate(table["columns"])}
    return [(row[at["koan"]], row[at["result"]]) for row in table["data"]]


def wait_for_checkpoint(folder: Path, child: subprocess.Popen[Any]) -> None:
    """Return when the job in `folder` has written its first checkpoint, or ended."""
    deadline = time.monotonic() + 300
    while child.poll() is None and time.monotonic() < deadline:
        if list(folder.glob("outputs/checkpoints/*/state.pt")):
            return
        time.sleep(0.02)


@pytest.fixture(scope="module")
def smoke(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """The smoke job, done once for the tests that look at it."""
    folder = tmp_path_factory.mktemp("smoke")
    done = sleepy(folder, *SMALL)
    assert done.returncode == 0, done.stderr
    return folder, done


def test_the_terminal_says_what_came_out_and_where_it_is(smoke: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    folder, done = smoke
    for said in ("baseline", "trained", "exact McNemar p", "95 % bootstrap interval", "[gate no_loss]", "mlflow ui"):
        assert said in done.stdout, said
    for stage in ("fetch", "prove", "baseline", "train", "merge", "export", "evaluate", "gate", "report"):
        assert stage in done.stderr
    (report,) = folder.glob("outputs/*/*/report.md")
    assert {p.name for p in report.parent.glob("*.png")} == {"koans.png", "families.png", "learning_curve.png"}
    exported = report.parent / "export"
    assert {p.suffix for p in exported.iterdir()} == {".gguf", ""} and (exported / "Modelfile").is_file()


def test_mlflow_has_everything_that_a_person_compares(smoke: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    folder, _ = smoke
    (run,) = runs(folder)
    assert (run.info.status, run.info.run_name) == ("FINISHED", " ".join(SMALL))
    tags, metrics, params = run.data.tags, run.data.metrics, run.data.params
    assert (tags["experiment"], tags["algorithm"], tags["model"]) == ("smoke", "naive", "smollm2-135m")
    assert tags["gate"] in ("promoted", "refused") and tags["gate.reason"] and len(tags["adapter.digest"]) == 64
    assert params["lora.r"] == "8" and params["train.steps"] == "2" and params["model.name"] == "smollm2-135m"
    family = "eval/family/type_mismatch/pass_rate"
    for name in ("baseline/pass_rate", "eval/pass_rate", family, "compare/p_value", "train/loss"):
        assert name in metrics
    artifacts = Path(run.info.artifact_uri.removeprefix("file://"))
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
        assert (artifacts / name).is_file(), name
    assert len(verdicts(run)) == 3
    assert {d.dataset.name for d in run.inputs.dataset_inputs} == {"koans[3]", "mix"}
    assert not (folder / "outputs" / "checkpoints").exists() or not any((folder / "outputs" / "checkpoints").iterdir())


def test_killed_in_training_it_goes_on_to_the_same_adapter_and_verdicts(
    smoke: tuple[Path, subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    (whole,) = runs(smoke[0])
    child = subprocess.Popen(
        [sys.executable, str(ROOT / "run.py"), *SMALL],
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    wait_for_checkpoint(tmp_path, child)
    os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    assert list(tmp_path.glob("outputs/checkpoints/*/state.pt")) and not list(tmp_path.glob("outputs/*/*/adapter"))
    again = sleepy(tmp_path, *SMALL)
    assert again.returncode == 0 and "going on after step" in again.stderr
    killed, resumed = runs(tmp_path)
    assert (killed.info.status, resumed.info.status) == ("KILLED", "FINISHED")
    assert resumed.data.tags["adapter.digest"] == whole.data.tags["adapter.digest"]
    assert resumed.data.tags["gguf.digest"] == whole.data.tags["gguf.digest"]
    assert verdicts(resumed) == verdicts(whole)


def test_a_sweep_is_a_parent_with_children_and_pays_for_one_baseline(tmp_path: Path) -> None:
    done = sleepy(tmp_path, "-m", *SMALL, "lora.r=4,8", "algo=naive,replay", "train.steps=1", "data.probe=2")
    assert done.returncode == 1 and "data.probe: no such option" in done.stderr  # experiment=smoke takes data=all
    done = sleepy(tmp_path, "-m", *SMALL, "lora.r=4,8", "algo=naive,none", "train.steps=1", timeout=900)
    assert done.returncode == 0, done.stderr
    parent, *children = runs(tmp_path)
    assert parent.data.tags["sleepy.sweep"] and parent.info.status == "FINISHED"
    assert [c.data.tags["mlflow.parentRunId"] for c in children] == [parent.info.run_id] * 4
    assert {(c.data.params["lora.r"], c.data.tags["algorithm"]) for c in children} == {
        (r, a) for r in "48" for a in ("naive", "none")
    }
    assert all(c.info.status == "FINISHED" for c in children)
    rows = [line.split(" | ") for line in done.stdout[done.stdout.index("| job |") :].strip().splitlines()]
    assert [row[0] for row in rows[2:]] == ["| baseline"] + [
        f"| lora.r={r} algo={a}" for r in "48" for a in ("naive", "none")
    ]
    assert [row[-1] for row in rows[3:]] == [f"{c.info.run_id} |" for c in children]
    assert all(row[3:6] == ["0", "0", "1"] for row in rows[4::2])  # algo=none: the untouched model, exported
    page = Path(parent.info.artifact_uri.removeprefix("file://")) / "report" / "sweep.md"
    assert page.read_text() in done.stdout


def test_a_failing_job_says_failed_and_the_sweep_goes_on(tmp_path: Path) -> None:
    done = sleepy(tmp_path, "-m", "experiment=smoke", "stages=[prove]", "sandbox.compile_memory_mb=64,4096")
    parent, broken, sound = runs(tmp_path)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert (parent.info.status, broken.info.status, sound.info.status) == ("FAILED", "FAILED", "FINISHED")
    artifacts = Path(broken.info.artifact_uri.removeprefix("file://"))
    assert "SandboxError" in (artifacts / "traceback.txt").read_text()


def test_ctrl_c_leaves_a_checkpoint_and_says_how_to_go_on(tmp_path: Path) -> None:
    child = subprocess.Popen(
        [sys.executable, str(ROOT / "run.py"), *SMALL, "train.steps=50"],
        cwd=tmp_path,
        text=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    wait_for_checkpoint(tmp_path, child)
    child.send_signal(signal.SIGINT)
    _, said = child.communicate(timeout=120)
    assert child.returncode == 130 and "The same command goes on" in said and "Traceback" not in said
    (run,) = runs(tmp_path)
    assert run.info.status == "KILLED"


def test_a_stream_measures_every_task_after_every_step(tmp_path: Path) -> None:
    words = ["stream=sequential", "stream.tasks=2", "data.examples=2", "train.steps=1", "train.batch_size=2"]
    done = sleepy(tmp_path, "model=smollm2-135m", "algo=sure", *words, timeout=900)
    assert done.returncode == 0, done.stderr
    (run,) = runs(tmp_path)
    assert {"stream/acc", "stream/bwt", "stream/fwt", "stream/forgetting"} <= run.data.metrics.keys()
    (course,) = tmp_path.glob("outputs/*/*/stream.json")
    steps = json.loads(course.read_text())["steps"]
    assert len(steps) == 2 and run.data.metrics["eval/tasks"] == 6
    first, second = (course.parent / f"{i + 1}-{name}" for i, name in enumerate(steps))
    kept = [(step / "adapter" / "memory" / "buffer.jsonl").read_text().count("\n") for step in (first, second)]
    assert kept == [1, 2]  # a line a task: the second step knew the first
    assert {json.loads(line)["pattern"] for line in (first / "mix.jsonl").read_text().splitlines()} == {steps[0]}


def test_a_stream_asks_each_task_by_its_own_coefficients(tmp_path: Path) -> None:
    words = ["stream=sequential", "stream.tasks=2", "data.examples=2", "train.steps=1", "train.batch_size=2"]
    words += ["stages=[fetch,prove,baseline,train]"]
    done = sleepy(tmp_path, "model=smollm2-135m", "algo=share", *words, own_cache(tmp_path))
    assert done.returncode == 0, done.stderr
    with open_episodes(tmp_path / "episodes.db", create=False) as store:
        episodes = list(store.episodes())
    (folder,) = tmp_path.glob("outputs/*/*/tasks")
    own = sorted(path.relative_to(folder).parent.as_posix() for path in folder.glob("*/*/adapter_config.json"))
    assert own == ["1/task_1", "2/task_1", "2/task_2"]
    names = dict.fromkeys(e.pattern for e in episodes)
    asked = [{e.adapter for e in episodes if e.pattern == name} - {""} for name in names]
    assert [len(adapters) for adapters in asked] == [2, 2] and len(set.union(*asked)) == 4


@pytest.mark.timeout(1200)
def test_all_algorithms_are_one_sweep(tmp_path: Path) -> None:
    names = "naive,targeted,replay,ewc,olora,sure,ssr,sam,osf,share,coef_only,none".split(",")
    small = ["model=smollm2-135m", "tasks.per_level=1", "tasks.families=[type_mismatch]", "train.batch_size=2"]
    words = ["data.probe=2", "train.steps=1", "stages=[fetch,prove,baseline,train]"]
    done = sleepy(tmp_path, "-m", *small, *words, f"algo={','.join(names)}", timeout=1200)
    assert done.returncode == 0, done.stderr
    parent, *jobs = runs(tmp_path)
    assert [job.data.tags["algorithm"] for job in jobs] == names
    assert {run.info.status for run in (parent, *jobs)} == {"FINISHED"}
    digests = [job.data.tags.get("adapter.digest") for job in jobs]
    assert digests[-1] is None and all(digests[:-1])


def test_a_baseline_alone_is_a_table(smoke: tuple[Path, subprocess.CompletedProcess[str]], tmp_path: Path) -> None:
    done = sleepy(tmp_path, "experiment=smoke", "stages=[fetch,prove,baseline]")
    assert done.returncode == 0 and "| family | level 1 | level 2 | level 3 | all levels |" in done.stdout
    (run,) = runs(tmp_path)
    assert f"run {run.info.run_id}" in done.stdout
    assert (Path(run.info.artifact_uri.removeprefix("file://")) / "report" / "baseline.md").is_file()


@pytest.mark.main_job
@pytest.mark.timeout(2400)
def test_the_main_job_on_the_default_model(tmp_path: Path) -> None:
    done = sleepy(tmp_path, timeout=2400)
    assert done.returncode == 0, done.stderr
    (run,) = runs(tmp_path)
    assert run.data.tags["model"] == "qwen2.5-coder-0.5b" and run.data.metrics["eval/tasks"] == 42
    assert 0 < run.data.metrics["baseline/pass_rate"] < 1
    assert "same greedy text" in run.data.tags["export.proof"] or "near-tie" in run.data.tags["export.proof"]
