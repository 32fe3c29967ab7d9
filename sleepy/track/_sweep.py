"""A sweep: checked whole before its first job, and a parent run over its jobs."""

from __future__ import annotations

import atexit
import sys
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from sleepy.errors import SleepyError


class SweepCallback(Callback):
    """Hydra calls it where the sweep starts, before any job; `on_multirun_end` is not called when a job failed, so the
    parent run is closed when the process ends."""

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Check every job, create the store and the parent run. Hydra turns exceptions here into warnings, so a bad
        sweep ends the process."""
        from sleepy.command import check_sweep
        from sleepy.schema import options

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
        atexit.register(tracker.close_parent, key)


def sweep_key(folder: str) -> str:
    """The name under which the jobs of a sweep, whatever their process, find their parent run."""
    return str(Path(folder).resolve())
