"""A sweep: checked whole before its first job, and a parent run over its jobs."""

from __future__ import annotations

import atexit
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from sleepy.errors import SleepyError

if TYPE_CHECKING:
    from sleepy.track.sweep_table import JobScores
    from sleepy.track.tracker import Tracker


class SweepCallback(Callback):
    """Hydra calls it where the sweep starts, before any job; `on_multirun_end` is not called when a job failed, so the
    parent run is closed when the process ends."""

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Check every job, create the store and the parent run. Hydra turns exceptions here into warnings, so a bad
        sweep ends the process."""
        from sleepy.cli import check_sweep
        from sleepy.options import options

        words = list(config.hydra.overrides.task)
        try:
            check_sweep(words)
            tracker = options(config)["track"].open()
            key = sweep_key(config.hydra.sweep.dir)
            tracker.parent(
                key, " ".join(words) or "sweep", {"experiment": str(config.hydra.runtime.choices.experiment or "")}
            )
        except SleepyError as error:
            print(f"error: {error}", file=sys.stderr)
            raise SystemExit(1) from error
        atexit.register(_end, tracker, key)


def _end(tracker: Tracker, key: str) -> None:
    """Show what the jobs measured, side by side, and end the parent run."""
    from sleepy.track.sweep_table import sweep_table

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
    from sleepy.evaluate.harness import read_scores
    from sleepy.track.log import SCORES
    from sleepy.track.sweep_table import JobScores

    found = [folder / SCORES / f"{name}.json" for name in ("baseline", "eval")]
    read = [read_scores(path) if path.is_file() else None for path in found]
    if read[1] is None and (folder / "adapter").is_dir():
        return None
    words = (folder / "config" / "overrides.txt").read_text(encoding="utf-8").splitlines()
    return JobScores(tuple(words), run_id, read[0], read[1]) if read[0] else None


def sweep_key(folder: str) -> str:
    """The name under which the jobs of a sweep, whatever their process, find their parent run."""
    return str(Path(folder).resolve())
