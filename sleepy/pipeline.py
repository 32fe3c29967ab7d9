"""The pipeline: read `job` as a table of contents. Each stage takes what the ones before it made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from sleepy import stages as do
from sleepy.context import Context
from sleepy.forecast import foretell
from sleepy.outcome import Outcome, report
from sleepy.preflight import check, planned
from sleepy.progress import Stages, hush
from sleepy.settings import GROUPS, name_of, recorded, settings
from sleepy.track import log


def run(config: DictConfig) -> None:
    """One job from its composed config: checked whole, then done stage by stage inside one MLflow run.

    Raises ConfigError with every problem of the config before anything is loaded.
    """
    s = settings(config)
    stages = planned(s.stages)
    hydra = HydraConfig.get()
    chosen, words = recorded(hydra.runtime.config_sources)
    overrides = (*words, *hydra.overrides.task)
    chosen |= {k: v for k, v in hydra.runtime.choices.items() if v}
    choices = {group: name_of(getattr(s, group), chosen.get(group)) for group in GROUPS}
    tracker = s.track.open()
    warnings = check(s, stages, choices, tracker)
    parent = None
    if hydra.mode == RunMode.MULTIRUN:
        parent = tracker.parent(str(Path(hydra.sweep.dir).resolve()), "sweep")
    tags = {
        "experiment": chosen.get("experiment", ""),
        "algorithm": choices["algo"],
        **{group: choices[group] for group in ("model", "tasks", "data", "stream", "routing")},
    }
    if {"fetch", "repair", "doubts"} & set(stages):
        hush()
    with tracker.run(name=tracker.name_of(overrides, parent), tags=tags, parent=parent) as tracked:
        resolved: Any = OmegaConf.to_container(config, resolve=True)
        log.config(tracked, resolved, list(overrides))
        folder = Path(hydra.runtime.output_dir)
        context = Context(s, stages, choices, overrides, tracker, tracked, folder, Stages(), warnings)
        foretell(context)
        job(context)
        tracked.metrics({f"seconds/{k}": v for k, v in context.watch.seconds.items()})


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
