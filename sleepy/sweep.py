"""A sweep: checked whole before its first job, and a parent run over its jobs."""

from __future__ import annotations

import atexit
import sys
from pathlib import Path
from typing import Any

from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.experimental.callback import Callback
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from sleepy.errors import ConfigError, SleepyError
from sleepy.explain import explain, swept_values
from sleepy.options import CONF, groups
from sleepy.results_page.make import page_of_sweep
from sleepy.settings import Settings, settings
from sleepy.track.sweep_table import JobScores, sweep_table
from sleepy.track.tracker import SWEPT, Tracker

_TYPED: dict[str, str] = {}  # words of the command line as they were typed, by what Hydra was given in their place


def first_choices(line: list[str], overrides: list[str]) -> list[str]:
    """A sweep's command line as Hydra is to compose it before the first job: of each choice that is swept, the first.

    Hydra leaves out what is swept there. It would find the default of each such group, and refuse every option that
    only the swept choices have, whether it stands on the command line or in an experiment's file. SweepCallback gives
    the words back as they were typed before the jobs are made of them. `overrides` are the words of `line` with a key.
    """
    for word in overrides:
        try:
            override = OverridesParser.create().parse_override(word)
        except HydraException:  # Hydra will say so
            continue
        group = override.key_or_group
        if override.is_sweep_override() and override.package is None and group in (*groups(), "experiment"):
            known = sorted(path.stem for path in (CONF / group).glob("*.yaml"))
            if values := swept_values(override, known):
                _TYPED[f"{group}={values[0]}"] = word
    given = {word: first for first, word in _TYPED.items()}
    return [given.get(word, word) for word in line]


class SweepCallback(Callback):
    """Hydra calls it where the sweep starts, before any job; `on_multirun_end` is not called when a job failed, so the
    parent run is closed when the process ends."""

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Check every job, create the store and the parent run. Hydra turns exceptions here into warnings, so a bad
        sweep ends the process."""
        words = [_TYPED.get(word, word) for word in config.hydra.overrides.task]
        config.hydra.overrides.task = words
        try:
            tracker = check_sweep(words, config.hydra.job.config_name).track.open()
            key = sweep_key(config.hydra.sweep.dir)
            experiment = config.hydra.runtime.choices.get("experiment") or ""
            tags = {"experiment": experiment, SWEPT: " ".join(_swept(words))}
            tracker.parent(key, " ".join(words) or "sweep", tags)
        except SleepyError as error:
            print(f"error: {error}", file=sys.stderr)
            raise SystemExit(1) from error
        atexit.register(_end, tracker, key)


def check_sweep(words: list[str], config_name: str = "config") -> Settings:
    """Compose and check every job of a sweep before the first one starts; the first job's settings. Raises ConfigError
    that names each job with a problem."""
    from hydra import compose
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper

    parsed = OverridesParser.create(GlobalHydra.instance().config_loader()).parse_overrides(words)
    problems, sound = [], list[Settings]()
    for job in (job for batch in BasicSweeper.split_arguments(parsed, None) for job in batch):
        try:
            sound.append(settings(compose(config_name, list(job))))
        except SleepyError as error:
            problems.append(f"{' '.join(job)}: {error}")
        except (HydraException, OmegaConfBaseException) as error:
            raise ConfigError(_explained(words, error)) from error
    if problems or not sound:
        raise ConfigError("jobs of this sweep have problems; none was started:\n" + "\n".join(problems))
    return sound[0]


def _explained(words: list[str], error: Exception) -> str:
    """Why Hydra cannot compose a job; Hydra's own words where the config is a recorded one."""
    places = GlobalHydra.instance().config_loader().get_search_path().get_path()
    by_provider = {place.provider: Path(str(place.path).removeprefix("file://")) for place in places}
    folders = [by_provider["command-line"]] if "command-line" in by_provider else []
    told = explain(words, folders) if by_provider["main"] == CONF else []
    return "\n".join(told) or " ".join(f"{error} {error.__cause__ or ''}".split())


def _swept(words: list[str]) -> list[str]:
    """The keys that have several values."""
    parsed = OverridesParser.create().parse_overrides(words)
    return [override.get_key_element() for override in parsed if override.is_sweep_override()]


def sweep_key(folder: str) -> str:
    """The name under which the jobs of a sweep, whatever their process, find their parent run."""
    return str(Path(folder).resolve())


def _end(tracker: Tracker, key: str) -> None:
    """Show what the jobs measured, side by side, and end the parent run."""
    pages = {}
    try:
        jobs = [job for run_id, folder in tracker.jobs(key) if (job := _scores(run_id, folder))]
        if jobs:
            pages["report/sweep.md"] = sweep_table(jobs)
            print(f"\n{pages['report/sweep.md']}")
            pages |= page_of_sweep(tracker, key)
    finally:
        tracker.close_parent(key, pages)


def _scores(run_id: str, folder: Path) -> JobScores | None:
    """None for a job that measured nothing of what it made."""
    from sleepy.evaluate.scores_file import read_scores
    from sleepy.track.log import SCORES

    found = [folder / SCORES / f"{name}.json" for name in ("baseline", "eval")]
    read = [read_scores(path) if path.is_file() else None for path in found]
    if read[1] is None and (folder / "adapter").is_dir():
        return None
    words = (folder / "config" / "overrides.txt").read_text(encoding="utf-8").splitlines()
    return JobScores(tuple(words), run_id, read[0], read[1]) if read[0] else None
