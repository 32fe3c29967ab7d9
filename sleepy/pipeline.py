"""The pipeline: read `job` as a table of contents. Each stage takes what the ones before it made."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from sleepy import stages as do
from sleepy.context import Context
from sleepy.files import write_text
from sleepy.outcome import Outcome, report
from sleepy.preflight import check, planned
from sleepy.progress import Stages, hush
from sleepy.replay.experiment import write_experiment
from sleepy.replay.replay import FRESH, Repetition, begin
from sleepy.settings import GROUPS, Settings, name_of, recorded, settings
from sleepy.track import log
from sleepy.track.run import Run
from sleepy.track.tracker import Tracker


@dataclass(frozen=True)
class Asked:
    """A job as it was asked for: settings, stages in order, the resolved config behind them, the options' names by
    group, the words of the command line, and what is doubtful about it."""

    s: Settings
    stages: tuple[str, ...]
    resolved: dict[str, Any]
    choices: dict[str, str]
    words: tuple[str, ...]
    experiment: str
    warnings: tuple[str, ...]


def run(config: DictConfig) -> None:
    """One job from its composed config: checked whole, then done stage by stage inside one MLflow run; or an earlier
    one repeated, or written as an experiment.

    Raises ConfigError with every problem of the config before anything is loaded.
    """
    s = settings(config)
    if s.record.run:
        print(f"written: {write_experiment(s.record, s.track.open())} and its lock")
        return
    if s.replay.run:
        _repeat(s, s.track.open())
        return
    stages = planned(s.stages)
    hydra = HydraConfig.get()
    chosen, words = recorded(hydra.runtime.config_sources)
    chosen |= {k: v for k, v in hydra.runtime.choices.items() if v}
    choices = {group: name_of(getattr(s, group), chosen.get(group)) for group in GROUPS}
    tracker = s.track.open()
    warnings = check(s, stages, choices, tracker)
    resolved: Any = OmegaConf.to_container(config, resolve=True)
    overrides = (*words, *hydra.overrides.task)
    _new_run(Asked(s, stages, resolved, choices, overrides, chosen.get("experiment", ""), warnings), tracker)


def _repeat(today: Settings, tracker: Tracker) -> None:
    """Do a recorded run again, and say what of it is the same. Raises NotTheSame."""
    hydra = HydraConfig.get()
    folder = Path(hydra.runtime.output_dir)
    hush()
    again = begin(today, hydra.overrides.task, tracker, folder)
    if today.replay.only == "judge":
        again.judge(tracker, folder)
        return
    earlier = again.earlier
    choices = {group: name_of(getattr(again.s, group), earlier.choices.get(group)) for group in GROUPS}
    warnings = check(again.s, again.stages, choices, tracker)
    asked = Asked(again.s, again.stages, again.config, choices, earlier.words, "", warnings)
    again.conclude(tracker, _new_run(asked, tracker, again))


def _new_run(asked: Asked, tracker: Tracker, repeats: Repetition | None = None) -> Run:
    """Do the job as a run of MLflow; that run."""
    s, stages, choices, hydra = asked.s, asked.stages, asked.choices, HydraConfig.get()
    parent = repeats.earlier.run or None if repeats else None
    if hydra.mode == RunMode.MULTIRUN and not repeats:
        parent = tracker.parent(str(Path(hydra.sweep.dir).resolve()), "sweep")
    tags = {
        "experiment": asked.experiment,
        "algorithm": choices["algo"],
        **{group: choices[group] for group in ("model", "tasks", "data", "stream", "routing")},
        **(repeats.tags if repeats else {}),
    }
    if {"fetch", "repair", "doubts"} & set(stages):
        hush()
    with tracker.run(name=tracker.name_of(asked.words, parent), tags=tags, parent=parent) as tracked:
        log.config(tracked, asked.resolved, choices, asked.words)
        folder = Path(hydra.runtime.output_dir)
        write_text(folder / log.RUN_ID, f"{tracked.id}\n")
        fresh = folder / FRESH if repeats else None
        context = Context(s, stages, choices, asked.words, tracker, tracked, folder, Stages(), asked.warnings, fresh)
        job(context)
        tracked.metrics({f"seconds/{k}": v for k, v in context.watch.seconds.items()})
    return tracked


def job(c: Context) -> None:
    """The stages that were asked for, in order. Whatever is measured, decided on and delivered is one candidate."""
    stages = c.stages
    if c.s.report.runs:
        return do.report_runs(c)
    if "subspace" in stages:
        do.subspace(c)
    if "repair" in stages:
        do.repair(c)
    if "doubts" in stages:
        do.doubts(c)
    if "fetch" in stages:
        base = do.fetch(c)
    if "prove" in stages:
        exam, pairs, checker = do.prove(c)
    if "audit" in stages:
        do.audit_exam(c, exam, pairs, checker)
    if "baseline" not in stages:
        return
    lab = do.open_lab(c, base, exam, pairs, checker)
    before = do.baseline(c, lab)
    if "train" not in stages:
        return
    steps = do.train(c, lab, before)
    if not {"evaluate", "merge"} & set(stages):
        return
    result = do.unite(c, lab, steps)
    rustfix, after, verdict, delivery, delivered = None, None, None, None, None
    if "evaluate" in stages:
        after = do.evaluate(c, lab, result)
        rustfix = do.rustfix(c, lab)
    if after and "gate" in stages:
        verdict = do.gate(c, lab, before, after, steps)
    if "export" in stages:
        delivery, delivered = do.export(c, lab, result)
    elif "merge" in stages:
        do.merge_only(c, result)
    if after and rustfix and verdict and "report" in stages:
        report(c, lab, Outcome(rustfix, before, steps, after, verdict, delivery, delivered))
        lab.forget_checkpoints()
