"""Track runs with MLflow, in a SQLite file and a folder of artifacts that a bare `mlflow ui` finds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sleepy.track.store import open_store
from sleepy.track.tracker import Tracker


@dataclass(frozen=True, kw_only=True)
class Mlflow:
    """Where runs are recorded.

    folder: the folder of `mlflow.db` and `mlruns/`, created if missing. A relative path starts where the command was
        started.
    experiment: the MLflow experiment that new runs belong to, created if missing.
    """

    folder: str = "."
    experiment: str = "sleepy"

    def problems(self) -> list[str]:
        """What the fields' types do not say."""
        return [f"{key} must not be empty" for key in ("folder", "experiment") if not getattr(self, key).strip()]

    def open(self) -> Tracker:
        """Open or create the store, mark runs whose process was killed, and return the tracker.

        Raises SleepyError if the folder or the database cannot be used.
        """
        tracker = Tracker(open_store(Path(self.folder), self.experiment))
        tracker.mark_killed()
        return tracker
