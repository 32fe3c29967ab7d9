"""The pipeline: read `job` as a table of contents. Each stage takes what the ones before it made."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from sleepy import errands
from sleepy import stages as do
from sleepy.context import Context
from sleepy.errors import ConfigError
from sleepy.files import alone, size_of, write_text
from sleepy.forecast import foretell
from sleepy.identity import Identities, Identity
from sleepy.outcome import Outcome, report
from sleepy.preflight import check, planned
from sleepy.progress import Stages, hush, say
from sleepy.replay.experiment import write_experiment
from sleepy.replay.replay import FRESH, Repetition, begin
from sleepy.settings import GROUPS, Settings, name_of, recorded, settings
from sleepy.study.draws import draw_both
from sleepy.study.lab import Lab
from sleepy.track import log
from sleepy.track.run import Run
from sleepy.track.tracker import JOB, WORDS, Tracker


@dataclass(frozen=True)
class Asked:
    """A job as it was asked for: settings, stages in order, the resolved config behind them, the options' names by
    group, the words of the command line, and which job that is."""

    s: Settings
    stages: tuple[str, ...]
    resolved: dict[str, Any]
    choices: dict[str, str]
    words: tuple[str, ...]
    experiment: str
    identity: Identity
    warnings: tuple[str, ...] | None  # of the check; None: it is still to come


def run(config: DictConfig) -> None:
    """One job from its composed config: checked whole, then done stage by stage inside one MLflow run; or an earlier
    one repeated, or written as an experiment.

    A job of a sweep is not done where it is finished already; a single run is always a new one. Raises ConfigError with
    every problem of the config before anything is loaded.
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
    sweeps = hydra.mode == RunMode.MULTIRUN
    if not sweeps and (s.sweep.plan or s.sweep.shard):
        raise ConfigError("sweep.plan and sweep.shard are about the jobs of a sweep. Add -m")
    chosen, words = recorded(hydra.runtime.config_sources)
    chosen |= {k: v for k, v in hydra.runtime.choices.items() if v}
    choices = {group: name_of(getattr(s, group), chosen.get(group)) for group in GROUPS}
    tracker, cache = s.track.open(), Path(s.cache).expanduser()
    warnings = None if sweeps else check(s, stages, choices, tracker)
    resolved: Any = OmegaConf.to_container(config, resolve=True)
    identity = Identities(tracker, cache).of(s, stages, resolved)
    overrides = (*words, *hydra.overrides.task)
    asked = Asked(s, stages, resolved, choices, overrides, chosen.get("experiment", ""), identity, warnings)
    if not sweeps:
        _new_run(asked, tracker)
        return
    lock = cache / "jobs" / f"{identity.digest}.lock"
    with alone(lock, "doing the same job"):  # another terminal with the same sweep, or a shard that was started twice
        earlier = {} if s.sweep.again or identity.never else tracker.finished(identity.digest)
        if earlier:
            say(f"This job is finished and not done again: run {earlier[identity.digest].info.run_id}")
        else:
            _new_run(asked, tracker)
    lock.unlink(missing_ok=True)  # whoever waits for it will find the run


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
    identity = Identities(tracker, Path(again.s.cache).expanduser()).of(again.s, again.stages, again.config)
    warnings = check(again.s, again.stages, choices, tracker)
    asked = Asked(again.s, again.stages, again.config, choices, earlier.words, "", identity, warnings)
    again.conclude(tracker, _new_run(asked, tracker, again))


def _new_run(asked: Asked, tracker: Tracker, repeats: Repetition | None = None) -> Run:
    """Do the job as a run of MLflow; that run. What is wrong with a job of a sweep is kept with its run."""
    s, stages, choices, hydra = asked.s, asked.stages, asked.choices, HydraConfig.get()
    parent, tags = None, {JOB: asked.identity.digest}
    if repeats:
        parent = repeats.earlier.run or None
        tags |= repeats.tags
    elif hydra.mode == RunMode.MULTIRUN:
        parent = tracker.parent(str(Path(hydra.sweep.dir).resolve()), "sweep")
        tags[WORDS] = " ".join(hydra.overrides.task)
    tags |= {
        "experiment": asked.experiment,
        "algorithm": choices["algo"],
        **{group: choices[group] for group in ("model", "tasks", "data", "stream", "routing")},
    }
    if {"fetch", "repair", "doubts"} & set(stages):
        hush()
    with tracker.run(name=tracker.name_of(asked.words, parent), tags=tags, parent=parent) as tracked:
        log.config(tracked, asked.resolved, choices, asked.words)
        warnings = check(s, stages, choices, tracker) if asked.warnings is None else asked.warnings
        folder = Path(hydra.runtime.output_dir)
        write_text(folder / log.RUN_ID, f"{tracked.id}\n")
        fresh = folder / FRESH if repeats else None
        context = Context(s, stages, choices, asked.words, tracker, tracked, folder, Stages(), warnings, fresh)
        foretell(context)
        lab = job(context)
        tracked.metrics({f"seconds/{k}": v for k, v in context.watch.seconds.items()})
        tracked.metrics({"disk/bytes": size_of(folder) + tracked.size})
    if lab:  # not before the run counts as finished: killed in between, the job would be trained again
        lab.forget_checkpoints()
    return tracked


def job(c: Context) -> Lab | None:
    """The stages that were asked for, in order. Whatever is measured, decided on and delivered is one candidate. Of a
    job that came to its report, the lab, whose checkpoints are of no more use."""
    stages = c.stages
    if c.s.report.runs:
        errands.report_runs(c)
        return None
    if "subspace" in stages:
        errands.subspace(c)
    if "repair" in stages:
        errands.repair(c)
    if "doubts" in stages:
        errands.doubts(c)
    if "fetch" in stages:
        base = do.fetch(c)
    if "prove" in stages:
        exam, pairs, checker = do.prove(c)
    if "audit" in stages:
        do.audit_exam(c, exam, pairs, checker)
    if "baseline" not in stages:
        return None
    lab = do.open_lab(c, base, exam, pairs, checker)
    before = do.baseline(c, lab)
    if "train" not in stages:
        return None
    steps = do.train(c, lab, before)
    if not {"evaluate", "merge"} & set(stages):
        return None
    result = do.unite(c, lab, steps)
    rustfix, after, drawn, verdict, delivery, delivered = None, None, None, None, None, None
    if "evaluate" in stages:
        after = do.evaluate(c, lab, result)
        drawn = draw_both(lab, before.candidate, result, c.s.evaluate)
        rustfix = do.rustfix(c, lab)
    if after and "gate" in stages:
        verdict = do.gate(c, lab, before, after, steps)
    if "export" in stages:
        delivery, delivered = do.export(c, lab, result)
    elif "merge" in stages:
        do.merge_only(c, result)
    if after and rustfix and verdict and "report" in stages:
        report(c, lab, Outcome(rustfix, before, steps, after, drawn, verdict, delivery, delivered))
        return lab
    return None
