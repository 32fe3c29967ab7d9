"""Every stream, merge and routing through the whole pipeline, in this process, on a model of two random layers."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sleepy.errors import ConfigError
from sleepy.evaluate.scores_file import read_scores
from sleepy.exam.read import read_tasks
from sleepy.gate.no_loss import NoLoss
from sleepy.pairs.material import Mix
from tests.jobs import artifacts, runs

Job = Callable[..., Any]
PATTERNS = ["float_and_integer", "index_not_usize"]


def scores(found: Any, name: str) -> Any:
    return read_scores(artifacts(found) / "scores" / f"{name}.json")


@pytest.mark.parametrize("algo", ["naive", "share", "sure"])
def test_a_stream_of_tasks(run: Job, tmp_path: Path, algo: str) -> None:
    found = run(f"algo={algo}", "stream=sequential", "stream.tasks=2", "data=all", "data.examples=2", "train.steps=1")
    assert {"stream/acc", "stream/bwt", "stream/fwt", "stream/forgetting"} <= found.data.metrics.keys()
    steps = json.loads((artifacts(found) / "stream" / "stream.json").read_text())["steps"]
    (folder,) = tmp_path.glob("outputs/job-0")
    assert len(steps) == 2 and found.data.metrics["eval/tasks"] == found.data.metrics["baseline/tasks"] > 2
    last = json.loads((artifacts(found) / "stream.json").read_text())
    at = last["columns"].index("after 2")
    eval_scores = scores(found, "eval")
    assert [row[at] for row in last["data"]] == [r.passed for r in eval_scores.results]
    assert not list(folder.glob("scratch/*"))
    if algo == "share":  # each task's koans by its own coefficients, in the stream's last row and in the result
        assert "adapter.digest" not in found.data.tags and {p.name for p in folder.glob("tasks/2/*")} == {
            "task_1", "task_2",
        }  # fmt: skip


def test_cycles(run: Job) -> None:
    found = run("stream=cycles", "stream.cycles=2", "algo=replay", "data=all")
    assert found.data.metrics["cycle/promoted"] in (0, 1) and "gate" in found.data.tags
    with pytest.raises(ConfigError, match="which the cycles are reported on"):
        run("stream=cycles", "tasks=koans_val", "tasks.per_level=0", "tasks.families=null")


def test_seeds_of_cycles_do_not_overlap(run: Job, tmp_path: Path) -> None:
    for seed in (0, 1):
        run("stream=cycles", "stream.cycles=2", "data=all", "data.examples=4", f"seed={seed}")
    mixes = [path.read_text() for path in sorted(tmp_path.glob("outputs/job-*/cycle-*/mix.jsonl"))]
    assert len(mixes) == 4 == len(set(mixes))
    page = (tmp_path / "outputs/job-0/report.md").read_text()
    for step in ("cycle-1", "cycle-2"):  # each cycle with its own mix, and not the last one's
        mix = Mix(read_tasks(tmp_path / f"outputs/job-0/{step}/mix.jsonl", needs_tests=False), {})
        (line,) = [line for line in page.splitlines() if f"training mix of {step}" in line]
        assert mix.digest in line


def test_the_gate_does_not_choose_by_what_is_reported_on(run: Job) -> None:
    with pytest.raises(ConfigError, match=r"are frozen and in .*which is reported on"):
        run("gate.tasks=exam")
    found = run("tasks=koans_val", "tasks.per_level=1", "gate.tasks=exam")
    assert found.data.metrics["gate/koans"] == 3


@pytest.fixture
def each(run: Job) -> Any:
    """A run that trained an adapter for each of two patterns."""
    words = ["stream=each", f"stream.patterns=[{','.join(PATTERNS)}]", "stream.measure=true", "merge=average"]
    words += ["tasks=patterns", "tasks.per_level=1", "data.examples=2", "stages=[fetch,prove,baseline,train]"]
    return run(*words)


def test_adapters_of_patterns_are_combined_and_routed(run: Job, each: Any, tmp_path: Path) -> None:
    children = [r for r in runs(tmp_path) if r.data.tags.get("mlflow.parentRunId") == each.info.run_id]
    assert [c.info.run_name for c in children] == PATTERNS
    assert all(c.data.metrics["own/koans"] >= 1 and "train/loss" in c.data.metrics for c in children)
    given = ["stream=given", f"stream.adapters=[runs:/{each.info.run_id}]", "algo=none", "tasks=patterns"]
    digests = set()
    for merge in ("average", "linear", "cat", "svd", "ties", "dare_ties"):
        found = run(*given, f"merge={merge}")
        digests.add(found.data.tags["adapter.digest"])
        assert (artifacts(found) / "adapter" / "adapter_config.json").is_file()
    assert len(digests) == 6
    for routing in ("oracle", "error_code", "nearest"):
        found = run(*given, f"routing={routing}")
        assert "routing/right" in found.data.metrics and "adapter.digest" not in found.data.tags
        assert {p.stem for p in (artifacts(found) / "export" / "adapters").iterdir()} == set(PATTERNS)
    found = run(*given, "routing=arrow", "engine=transformers")
    assert found.data.metrics["routing/mixed"] == found.data.metrics["eval/tasks"]
    shared = run(*given, "algo=share", "merge=average")
    assert 0 < shared.data.metrics["share/error"] < 1 and shared.data.metrics["adapters"] == 2


def test_cycles_interrupted_in_training_and_at_the_gate_end_with_the_same_adapter(
    run: Job, killed: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As test_jobs has it with `-m nightly`, with real processes and kill -9."""
    cycles = ["stream=cycles", "stream.cycles=2", "train.steps=3", "train.checkpoint_every=1"]
    killed(*cycles)  # in the first training
    judge, asked = NoLoss.judge, []

    def interrupted(gate: Any, before: Any, after: Any) -> Any:
        asked.append(1)
        if len(asked) == 2:
            raise KeyboardInterrupt
        return judge(gate, before, after)

    with monkeypatch.context() as patch:
        patch.setattr(NoLoss, "judge", interrupted)
        with pytest.raises(KeyboardInterrupt):  # when the gate is asked about the second cycle
            run(*cycles)
    resumed = run(*cycles)
    assert capsys.readouterr().err.count("Resuming after step") == 1 + 2  # no cycle is learned twice
    shutil.rmtree(tmp_path / "outputs" / "checkpoints", ignore_errors=True)
    whole = run(*cycles)
    assert whole.data.tags.get("adapter.digest") == resumed.data.tags.get("adapter.digest")
    assert whole.data.metrics["cycle/promoted"] == resumed.data.metrics["cycle/promoted"]
