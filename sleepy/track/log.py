"""What the stages' artifacts become in MLflow: names that group, tables that can be read."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sleepy.artifacts import Adapter, TaskSet
from sleepy.deliver.deliver import Delivery
from sleepy.evaluate.ability import Ability
from sleepy.evaluate.candidates import Candidate
from sleepy.evaluate.clusters import Clustered
from sleepy.evaluate.continual import continual
from sleepy.evaluate.metrics import summary
from sleepy.evaluate.samples import Drawn, gain, sampled_rate
from sleepy.evaluate.scores_file import write_scores
from sleepy.exam.strata import stratum_of
from sleepy.files import write_jsonl, write_text
from sleepy.gate.gate import Verdict
from sleepy.pairs.material import Mix
from sleepy.results import Comparison, Course, Scores
from sleepy.track.record import record
from sleepy.track.run import Run
from sleepy.train.trainer import REWARDS

SCORES = "scores"  # folder of the artifacts
CONFIG, CHOICES, WORDS = "config/config.yaml", "config/choices.yaml", "config/overrides.txt"
RUN_ID = "run_id.txt"  # in a job's folder: which run that is


def config(run: Run, resolved: dict[str, Any], choices: dict[str, str], overrides: Sequence[str]) -> None:
    """The whole config as parameters and as a file, the options' names by group, the overrides, and what the run is
    made with."""
    import yaml

    run.params(resolved)
    run.text(yaml.safe_dump(resolved, sort_keys=False), CONFIG)
    run.text(yaml.safe_dump(choices, sort_keys=False), CHOICES)
    run.text("".join(f"{word}\n" for word in overrides), WORDS)
    run.record(Path(__file__).parent)


def code(run: Run) -> tuple[str, bool]:
    """The code's commit ("" outside of a git checkout), and whether the tree differed from it."""
    tags = record(Path(__file__).parent).tags
    return tags.get("mlflow.source.git.commit", ""), tags.get("mlflow.source.git.dirty") == "true"


def task_set(run: Run, tasks: TaskSet, context: str) -> None:
    """A task set as a dataset of the run."""
    run.dataset(tasks.name, tasks.digest, f"sleepy/{tasks.name}/{tasks.version}", len(tasks), context)
    run.tags({"tasks.digest": tasks.digest})


def mix(run: Run, folder: Path, mixed: Mix, step: str = "") -> None:
    """The mix as a dataset and as a file; `step` is the stream's."""
    path = folder / "mix.jsonl"
    write_jsonl(path, mixed.examples)
    place = f"data/{step}".rstrip("/")
    run.artifact(path, place)
    run.dataset(f"mix {step}".rstrip(), mixed.digest, f"{place}/mix.jsonl", len(mixed.examples), "training")
    run.metrics({f"data/{part}": count for part, count in mixed.parts.items()})


def scores(run: Run, folder: Path, measured: Scores, prefix: str) -> None:
    """Pass rates, in total and by family, level and stratum, steps, tokens and seconds, under `prefix`; and every
    attempt, as the file scores/<prefix>.json."""
    run.metrics({f"{prefix}/{name}": value for name, value in summary(measured).items()})
    path = folder / SCORES / f"{prefix}.json"
    write_scores(path, measured)
    run.artifact(path, SCORES)


def samples(run: Run, folder: Path, drawn: Scores, prefix: str) -> None:
    """The mean pass rate of drawn answers under `prefix`, and every one, as the file scores/<prefix>-samples.json."""
    rate = sampled_rate(drawn)
    figures = {"pass_rate": rate.mean, "low": rate.low, "high": rate.high, "answers": rate.samples}
    run.metrics({f"{prefix}/samples/{name}": value for name, value in figures.items()})
    path = folder / SCORES / f"{prefix}-samples.json"
    write_scores(path, drawn)
    run.artifact(path, SCORES)


def sampled_gain(run: Run, drawn: Drawn) -> None:
    """The paired comparison of the mean pass rates of drawn answers."""
    found = gain(drawn.before, drawn.after)
    figures = {"difference": found.mean, "low": found.low, "high": found.high, "p_value": found.p_value}
    run.metrics({f"compare/samples/{name}": value for name, value in figures.items()})


def result(run: Run, measured: Scores, comparison: Comparison | None = None) -> None:
    """The few figures to compare runs by, under the same names whatever the run is about: its result, or, without a
    comparison, the untouched model."""
    figures = {"result/pass_rate": measured.pass_rate, "result/seconds": measured.seconds}
    if comparison:
        figures |= {"result/difference": comparison.difference, "result/low": comparison.interval[0]}
        figures |= {"result/high": comparison.interval[1], "result/p_value": comparison.p_value}
    run.metrics(figures)


def adapter(run: Run, trained: Adapter, step: str = "") -> None:
    """The adapter's folder and what it cost; of a stream's steps the last has the last word."""
    run.artifact(trained.folder, f"adapter/{step}".rstrip("/"))
    run.metrics(
        {
            "train/seconds": trained.seconds,
            "train/parameters": trained.trainable,
            "train/tokens": trained.tokens,
            "train/resumed": trained.resumed,
        }
    )
    rewards = trained.folder / REWARDS
    for line in rewards.read_text(encoding="utf-8").splitlines() if rewards.is_file() else ():
        row = json.loads(line)
        number = row.pop("step")
        run.metrics({f"train/{name}": value for name, value in row.items()}, step=number)


def ability(run: Run, found: Ability, step: int) -> None:
    """What general texts say of an adapter after `step` steps of all trainings."""
    run.metrics(found.metrics(), step=step)


def course(run: Run, folder: Path, went: Course) -> None:
    """The figures of a stream in the end and after each step, and a row for each koan and step."""
    figures = continual(went)
    run.metrics({f"stream/{name}": value for name, value in figures.summary().items()})
    for step, row in enumerate(figures.matrix):
        run.metrics({f"stream/task/{name}": rate for name, rate in zip(went.steps, row, strict=True)}, step=step + 1)
    path = folder / "stream.json"
    write_text(path, json.dumps({"steps": went.steps, **asdict(figures)}, indent=1))
    run.artifact(path, "stream")
    outcomes = [went.before, *went.after]
    rows = [
        {"koan": r.task, **{f"after {i}": scores.results[k].passed for i, scores in enumerate(outcomes)}}
        for k, r in enumerate(went.before.results)
    ]
    run.table(rows, "stream")


def export(run: Run, delivery: Delivery) -> None:
    """Digests of what was delivered; the model file itself stays in the run's folder."""
    if delivery.exported:
        file = delivery.exported.file
        run.tags(
            {
                "gguf.digest": file.digest,
                "gguf.quantization": file.quantization,
                "gguf.path": run.place(file.path),
                "export.proof": delivery.proof,
            }
        )
        run.metrics({"export/bytes": file.size})
    if delivery.kept:
        run.metrics({"export/kept": delivery.kept.share, "export/changed": delivery.kept.changed})
    if delivery.recovery and delivery.recovery.share is not None:
        run.metrics({"export/recovery": delivery.recovery.share})
    for adapter_file in delivery.adapters:
        run.artifact(adapter_file.path, "export" if delivery.exported else "export/adapters")
    if delivery.modelfile:
        run.artifact(delivery.modelfile, "export")


def verdict(run: Run, comparison: Comparison, found: Verdict[Candidate]) -> None:
    """The paired comparison on the exam as metrics, the gate's word as tags and its own figures."""
    run.metrics(
        {
            "compare/fixes": len(comparison.fixes),
            "compare/regressions": len(comparison.regressions),
            "compare/difference": comparison.difference,
            "compare/low": comparison.interval[0],
            "compare/high": comparison.interval[1],
            "compare/p_value": comparison.p_value,
            "compare/mid_p": comparison.mid_p,
            "compare/detectable": comparison.detectable,
            "gate/fixes": len(found.comparison.fixes),
            "gate/regressions": len(found.comparison.regressions),
            "gate/p_value": found.comparison.p_value,
            "gate/koans": len(found.after.results),
        }
    )
    run.tags(
        {"gate": "promoted" if found.promoted else "refused", "gate.rule": found.rule, "gate.reason": found.reason}
    )


def clusters(run: Run, found: Clustered) -> None:
    """The paired comparison on the exam by pattern or by family."""
    figures = {"clusters": float(found.clusters), "p_value": found.p_value}
    if found.interval:
        figures |= {"low": found.interval[0], "high": found.interval[1]}
    run.metrics({f"compare/{found.by}/{name}": value for name, value in figures.items()})


def unhelped(run: Run, comparison: Comparison) -> None:
    """The paired comparison on the koans whose repair rustc neither shows nor suggests."""
    run.metrics(
        {
            "compare/neither/fixes": len(comparison.fixes),
            "compare/neither/regressions": len(comparison.regressions),
            "compare/neither/difference": comparison.difference,
            "compare/neither/p_value": comparison.p_value,
        }
    )


def koans(run: Run, before: Scores, after: Scores) -> None:
    """A row a koan, baseline beside result, as a table artifact."""
    rows = []
    for b, a in zip(before.results, after.results, strict=True):
        chosen = a.attempts[a.chosen]
        rows.append(
            {
                "koan": a.task,
                "family": a.family,
                "level": a.level,
                "stratum": stratum_of(a.task),
                "pattern": a.pattern,
                "baseline": "pass" if b.passed else "fail",
                "result": "pass" if a.passed else "fail",
                "ended at": chosen.stage,
                "codes": " ".join(chosen.codes),
                "attempts": len(a.attempts),
                "prompt tokens": chosen.prompt_tokens,
                "answer tokens": chosen.completion_tokens,
                "seconds": round(chosen.seconds, 2),
                "answer": chosen.program,
            }
        )
    run.table(rows, "koans")
