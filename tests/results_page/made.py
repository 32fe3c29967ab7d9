"""Runs as the results page reads them, with made-up scores on real koans."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sleepy.artifacts import TaskSet
from sleepy.exam.builtin import frozen
from sleepy.results import Attempt, Result, Scores
from sleepy.results_page.jobs import Found, Job

Passes = Callable[[int], bool]
"""Whether the koan at a place passes."""


def exam(count: int) -> TaskSet:
    """The first koans of the patterns' held-out pairs, with a text that would end a script in each program."""
    return TaskSet("patterns", "1", frozen("patterns").tasks[:count])


def scores(tasks: TaskSet, passes: Passes, answer: Callable[[int], str] | None = None, model: str = "tiny") -> Scores:
    """A koan that passes is answered with its fix, another one with `answer`, by default the broken program."""
    results = []
    for i, t in enumerate(tasks):
        program = t.fix if passes(i) else answer(i) if answer else t.broken
        end = ("passed", ()) if passes(i) else ("compile", ("E0382",))
        attempt = Attempt(program, program, *end, 300, 40, 0.5, "" if passes(i) else "E0382 use of moved value: _")
        results.append(Result(t.id, t.family, t.pattern, t.level, passes(i), (attempt,)))
    return Scores(tasks.name, tasks.digest, model, "llama_cpp", tuple(results), 80.0)


def job(folder: Path, words: Sequence[str], before: Scores, after: Scores | None, **more: Any) -> Job:
    """A run with this command line."""
    number = more.pop("number", 1)
    values = dict(word.split("=", 1) for word in words)
    config = {"train.lr": "0.0001", "seed": "0"} | {k: v for k, v in values.items() if k not in ("algo", "repair")}
    made_with = {"rustc": "rustc 1.95.0", "python": "3.11.9", "torch": "2.13.0"}
    tags = {"algorithm": values.get("algo", "naive"), "mlflow.source.git.commit": "c0ffee" * 6, "sleepy.code": "c0ffee"}
    own: Mapping[str, Any] = {"metrics": {"train/seconds": 40.0}, "stream": None} | more
    return Job(
        run_id=f"{number:032x}"[:32], words=tuple(words), config=config, tags=tags, made_with=made_with, folder=folder,
        before=before, after=after, **own,
    )  # fmt: skip


def sweep(folder: Path, koans: int = 24, seeds: int = 3) -> Found:
    """Two algorithms by two rates by seeds: replay helps, the high rate hurts a little."""
    tasks, rng = exam(koans), random.Random(1)
    before = scores(tasks, lambda i: i % 4 == 0)
    jobs = []
    for algo in ("naive", "replay"):
        for rate in ("0.0001", "0.001"):
            for seed in range(seeds):
                gain = 0.35 * (algo == "replay") + 0.05 * (rate == "0.0001") + 0.04
                passing = [rng.random() < (gain if i % 4 else 1 - 0.2 * (rate == "0.001")) for i in range(koans)]
                after = scores(tasks, passing.__getitem__, lambda i: tasks.tasks[i].broken + f"// {i % 3}\n")
                words = [f"algo={algo}", f"train.lr={rate}", f"seed={seed}"]
                metrics = {"train/seconds": 30.0 + 20 * (algo == "replay") + seed}
                jobs.append(job(folder, words, before, after, number=len(jobs) + 1, metrics=metrics))
    return Found(tuple(jobs), ("algo=sam (0123): failed, TrainingError: the loss is not finite",))
