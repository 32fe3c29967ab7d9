"""A sweep: checked whole before its first job, and a parent run over its jobs."""

from __future__ import annotations

import atexit
import sys
from pathlib import Path
from typing import Any

from hydra.errors import HydraException
from hydra.experimental.callback import Callback
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from sleepy.errors import ConfigError, SleepyError
from sleepy.explain import explain
from sleepy.settings import Settings, settings
from sleepy.track.sweep_table import JobScores, sweep_table
from sleepy.track.tracker import Tracker


class SweepCallback(Callback):
    """Hydra calls it where the sweep starts, before any job; `on_multirun_end` is not called when a job failed, so the
    parent run is closed when the process ends."""

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Check every job, create the store and the parent run. Hydra turns exceptions here into warnings, so a bad
        sweep ends the process."""
        words = list(config.hydra.overrides.task)
        try:
            tracker = check_sweep(words).track.open()
            key = sweep_key(config.hydra.sweep.dir)
            tracker.parent(
                key, " ".join(words) or "sweep", {"experiment": str(config.hydra.runtime.choices.experiment or "")}
            )
        except SleepyError as error:
            print(f"error: {error}", file=sys.stderr)
            raise SystemExit(1) from error
        atexit.register(_end, tracker, key)


def check_sweep(words: list[str]) -> Settings:
    """Compose and check every job of a sweep before the first one starts; the first job's settings. Raises ConfigError
    that names each job with a problem."""
    from hydra import compose
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
    from hydra.core.override_parser.overrides_parser import OverridesParser

    parsed = OverridesParser.create().parse_overrides(words)
    problems, sound = [], list[Settings]()
    for job in (job for batch in BasicSweeper.split_arguments(parsed, None) for job in batch):
        try:
            sound.append(settings(compose("config", list(job))))
        except SleepyError as error:
            problems.append(f"{' '.join(job)}: {error}")
        except (HydraException, OmegaConfBaseException) as error:
            raise ConfigError("\n".join(explain(list(job))) or str(error)) from error
    if problems or not sound:
        raise ConfigError("jobs of this sweep have problems; none was started:\n" + "\n".join(problems))
    return sound[0]


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
