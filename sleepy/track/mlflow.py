"""Track runs with MLflow, in a SQLite file and a folder of artifacts that a bare `mlflow ui` finds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sleepy.track.store import open_store
from sleepy.track.tracker import Tracker


@dataclass(frozen=True, kw_only=True)
class Mlflow:
    """Where runs are recorded.

    folder: the folder of `mlflow.db` and `mlruns/`, made if missing; a relative one counts from where the command
        was started.
    experiment: the MLflow experiment that new runs belong to, made if missing.
    """

    folder: str = "."
    experiment: str = "sleepy"

    def problems(self) -> list[str]:
        return [
            f"{key}: found an empty text, expected {expected}"
            for key, expected in (("folder", "a folder, '.' for this one"), ("experiment", "a name"))
            if not getattr(self, key).strip()
        ]

    def open(self) -> Tracker:
        """Make the store if need be, mark runs whose process was killed, and return the tracker.

        Raises SleepyError where the folder or the database cannot be used.
        """
        tracker = Tracker(open_store(Path(self.folder), self.experiment))
        tracker.mark_killed()
        return tracker
