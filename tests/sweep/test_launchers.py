"""The same sweep on every launcher: the same adapters, and a job that fails stops no other."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sleepy.errors import ConfigError
from sleepy.machine import cores, threads
from sleepy.sweep import words as sweep_words
from tests.jobs import ROOT, runs, sleepy
from tests.sweep.test_sweep import finished, rows

QUICK = ["train.steps=2", "train.checkpoint_every=1", "stages=[fetch,prove,baseline,train,evaluate]", "ability=false"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "launcher", ["joblib", *(pytest.param(name, marks=pytest.mark.nightly) for name in ("ray", "submitit_local"))]
)
def test_a_launcher_does_the_jobs_that_a_single_run_does_and_goes_on_after_one_that_fails(
    launcher: str, tmp_path: Path, tiny_words: list[str], run: Callable[..., Any]
) -> None:
    done = sleepy(tmp_path, "-m", f"hydra/launcher={launcher}", *tiny_words, *QUICK, "train.max_length=64,8000")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "| job |" in done.stdout, done.stderr
    (job,) = finished(tmp_path).values()
    assert "train.max_length=8000" in job.data.tags["sleepy.words"]
    (failed,) = [row for row in rows(done.stdout) if "train.max_length=64" in row[0]]
    assert failed[1] == "failed" and "longer than train.max_length=64" in failed[2]
    alone = run(*QUICK, "train.max_length=8000")
    assert job.data.tags["adapter.digest"] == alone.data.tags["adapter.digest"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "share"),
    [
        (["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"], max(1, cores() // 2)),
        (["hydra/launcher=joblib", "hydra.launcher.n_jobs=1"], cores()),
        pytest.param(["hydra/launcher=ray", "hydra.launcher.cpus=2"], 2, marks=pytest.mark.nightly),
    ],
)
def test_each_job_has_its_share_of_the_cores(
    words: list[str], share: int, tmp_path: Path, tiny_words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)  # 1 where tests run side by side
    done = sleepy(tmp_path, "-m", *words, *tiny_words, "stages=[fetch,prove]", "seed=0,1")
    assert done.returncode == 0, done.stderr
    jobs = [found for found in runs(tmp_path) if "sleepy.words" in found.data.tags]
    assert [found.data.params["env.threads"] for found in jobs] == [str(share)] * 2


@pytest.fixture
def cluster() -> Iterator[Any]:
    """A Ray cluster of one node with a core, on which this process starts nothing."""
    from ray.cluster_utils import Cluster

    found = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        yield found
    finally:
        found.shutdown()


@pytest.mark.nightly
def test_a_job_whose_node_is_taken_away_is_done_on_another(
    cluster: Any, tmp_path: Path, tiny_words: list[str], run: Callable[..., Any]
) -> None:
    second = cluster.add_node(num_cpus=1)
    argv = [
        sys.executable, str(ROOT / "run.py"), "-m", "hydra/launcher=ray", f"hydra.launcher.address={cluster.address}",
        *tiny_words, *QUICK, "seed=0,1",
    ]  # fmt: skip
    with (tmp_path / "log").open("w") as log:
        sweep = subprocess.Popen(argv, cwd=tmp_path, stdout=log, stderr=log)
    while sweep.poll() is None and len(list(tmp_path.glob("multirun/*/*/[01]"))) < 2:
        time.sleep(0.02)
    cluster.remove_node(second, allow_graceful=False)
    assert sweep.wait() == 0, (tmp_path / "log").read_text()
    digests = {name.rpartition("seed=")[2]: job.data.tags["adapter.digest"] for name, job in finished(tmp_path).items()}
    assert digests.keys() == {"0", "1"}
    assert digests["1"] == run(*QUICK, "seed=1").data.tags["adapter.digest"]
    assert len([r for r in runs(tmp_path) if "sleepy.words" in r.data.tags and r.info.status == "RUNNING"]) <= 1


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("hydra.launcher.address=127.0.0.1:9", "error: hydra.launcher.address=127.0.0.1:9: "),
        pytest.param(
            "hydra.launcher.cpus=4096", "no node of the cluster has so many. There is ", marks=pytest.mark.nightly
        ),
    ],
)
def test_a_cluster_that_cannot_be_used(word: str, said: str, tmp_path: Path, tiny_words: list[str]) -> None:
    done = sleepy(tmp_path, "-m", "hydra/launcher=ray", word, *tiny_words, *QUICK, "seed=0,1")
    assert done.returncode == 1 and said in done.stderr


def test_a_launcher_without_its_package_is_refused_by_the_name_of_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    sweep_words.require_launcher(["hydra/launcher=joblib", "hydra/launcher=basic", "seed=0,1"])
    monkeypatch.setattr(sweep_words, "find_spec", lambda name: None)
    sweep_words.require_launcher(["hydra/launcher=basic", "seed=0,1"])
    with pytest.raises(ConfigError, match=r"hydra/launcher=slurm needs .* pip install -e '.\[submitit\]'"):
        sweep_words.require_launcher(["seed=0,1", "hydra/launcher=slurm"])


def test_jobs_side_by_side_divide_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    there = cores()
    for said, expected in (("1", 1), ("1,2", 1), ("9999", there), ("0", there), ("", there), ("x", there)):
        monkeypatch.setenv("OMP_NUM_THREADS", said)
        assert threads() == expected
