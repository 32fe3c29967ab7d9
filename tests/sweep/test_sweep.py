"""A real sweep on the tiny model, killed and started again."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.jobs import ROOT, artifacts, runs, sleepy

ONCE = ["train.steps=2", "train.checkpoint_every=1", "stages=[fetch,prove,baseline,train,evaluate,gate,report]"]


def killed(folder: Path, *words: str, until: Callable[[], object]) -> None:
    """A sweep that is killed with -9 as soon as `until()` holds; it must not have ended before."""
    argv = [sys.executable, str(ROOT / "run.py"), "-m", *words]
    log = (folder / "killed.log").open("a")
    child = subprocess.Popen(argv, cwd=folder, stdout=log, stderr=log, start_new_session=True)
    while child.poll() is None and not until():
        time.sleep(0.01)
    os.killpg(child.pid, signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL, (folder / "killed.log").read_text()


def finished(folder: Path) -> dict[str, Any]:
    """The finished jobs by their words; each at most once."""
    jobs = [run for run in runs(folder) if "sleepy.words" in run.data.tags and run.info.status == "FINISHED"]
    found = {run.data.tags["sleepy.words"]: run for run in jobs}
    assert len(found) == len(jobs)
    return found


def steps_in_checkpoints(folder: Path) -> list[int]:
    return [json.loads(path.read_text())["done"] for path in folder.glob("outputs/checkpoints/*/record.json")]


def rows(said: str) -> list[list[str]]:
    """The cells of the table that a sweep ends with, without its head."""
    lines = said[said.index("| job |") :].splitlines()
    return [line.strip("| ").split(" | ") for line in lines[2:] if line.startswith("|")]


@pytest.mark.slow
def test_a_sweep_killed_in_its_second_job_goes_on_and_takes_what_is_done(
    tmp_path: Path, tiny_words: list[str], run: Callable[..., Any]
) -> None:
    words = [*tiny_words, *ONCE, "engine.threads=1"]
    killed(
        tmp_path, *words, "seed=0,1",
        until=lambda: list(tmp_path.glob("multirun/*/*/1")) and steps_in_checkpoints(tmp_path),
    )  # fmt: skip
    done, before = steps_in_checkpoints(tmp_path), finished(tmp_path)
    planned = sleepy(tmp_path, "-m", *words, "seed=0,1,2", "sweep.plan=true")
    assert [row[1].split()[0] for row in rows(planned.stdout)] == ["finished", "stopped", "new"], planned.stderr
    assert "3 jobs, 1 of them finished, 2 to do" in planned.stdout and finished(tmp_path).keys() == before.keys()
    assert [row[2] == "unknown" for row in rows(planned.stdout)] == [False] * 3 and "unknown" not in planned.stdout

    longer = sleepy(tmp_path, "-m", *words, "seed=0,1,2")
    assert longer.returncode == 0, longer.stderr
    after = {words.rpartition("seed=")[2]: job for words, job in finished(tmp_path).items()}
    ids = {seed: job.info.run_id for seed, job in after.items()}
    assert [job.info.run_id for job in before.values()] == [ids["0"]] and ids.keys() == set("012")
    assert [row[0] for row in rows(longer.stdout)] == ["baseline", "seed=0", "seed=1", "seed=2"]
    assert [row[-1] for row in rows(longer.stdout)][1:] == [f"taken from {ids['0']}", ids["1"], ids["2"]]
    assert [after[seed].data.metrics["train/resumed"] for seed in "012"] == [0, *done, 0]
    parent = [run for run in runs(tmp_path) if "sleepy.sweep" in run.data.tags][-1]
    assert (parent.info.status, parent.data.tags["sleepy.taken.0"]) == ("FINISHED", ids["0"])
    assert (artifacts(parent) / "report" / "sweep.md").read_text() in longer.stdout

    unbroken = run(*ONCE, "seed=1")  # a single run is always a new one
    for tag in ("adapter.digest", "sleepy.job"):
        assert unbroken.data.tags[tag] == after["1"].data.tags[tag]


def trained(folder: Path) -> Counter[str]:
    """Steps that were trained of each job, over all of its runs that came to an adapter."""
    found: Counter[str] = Counter()
    for run in runs(folder):
        if "train/resumed" in run.data.metrics:
            steps = int(run.data.params["train.steps"]) - int(run.data.metrics["train/resumed"])
            found[run.data.tags["sleepy.words"]] += steps
    return found


@pytest.mark.nightly
@pytest.mark.parametrize(
    ("seed", "launcher"),
    [
        (1, ["hydra/launcher=basic"]),
        (2, ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]),
        (3, ["hydra/launcher=ray", "hydra.launcher.cpus=1"]),
    ],
    ids=["basic", "joblib", "ray"],
)
def test_a_sweep_killed_three_times_at_random_ends_like_an_unbroken_one(
    tmp_path: Path, tiny_words: list[str], seed: int, launcher: list[str]
) -> None:
    words = [*launcher, *tiny_words, *ONCE, "engine.threads=1", "lora.r=2,4,8", "seed=0,1,2,3"]
    folders = whole, broken = tmp_path / "whole", tmp_path / "broken"
    for folder in folders:
        folder.mkdir()
    start = time.monotonic()
    done = sleepy(whole, "-m", *words)
    assert done.returncode == 0, done.stderr
    lasted = time.monotonic() - start
    rng = random.Random(seed)
    for _ in range(3):
        end = time.monotonic() + rng.uniform(0.1, 0.3) * lasted
        killed(broken, *words, until=lambda end=end: time.monotonic() > end)
    last = sleepy(broken, "-m", *words)
    assert last.returncode == 0, last.stderr
    digests = [
        {words: run.data.tags["adapter.digest"] for words, run in finished(folder).items()} for folder in folders
    ]
    assert digests[0] == digests[1] and len(digests[0]) == 12
    figures = [[row[:6] for row in rows(said.stdout)] for said in (done, last)]
    assert figures[0] == figures[1]
    assert max(trained(broken).values()) <= 2  # no job is trained twice
    again = sleepy(broken, "-m", *words, "sweep.again=true", "sweep.shard=12/12")
    anew, job = runs(broken)[-1], list(finished(whole).values())[-1]
    assert again.returncode == 0 and [row[-1] for row in rows(again.stdout)][1:] == [anew.info.run_id]
    for tag in ("adapter.digest", "sleepy.job"):
        assert anew.data.tags[tag] == job.data.tags[tag]
