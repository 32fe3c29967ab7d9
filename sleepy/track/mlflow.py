"""Track runs with MLflow: in a SQLite file and a folder of artifacts that a bare `mlflow ui` finds, or by a server."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sleepy.track.server import open_server
from sleepy.track.store import open_store
from sleepy.track.tracker import Tracker


@dataclass(frozen=True, kw_only=True)
class Mlflow:
    """Where runs are recorded.

    folder: the folder of `mlflow.db` and `mlruns/`, created if missing. A relative path starts where the command was
        started. With `uri` it holds this machine's copies of what it reads from there.
    uri: the address of an MLflow server (http:// or https://), which then keeps runs and artifacts. Empty is `folder`.
    experiment: the MLflow experiment that new runs belong to, created if missing.
    """

    folder: str = "."
    uri: str = ""
    experiment: str = "sleepy"

    def problems(self) -> list[str]:
        """What the fields' types do not say."""
        found = [f"{key} must not be empty" for key in ("folder", "experiment") if not getattr(self, key).strip()]
        if self.uri and not self.uri.startswith(("http://", "https://")):
            told = f"uri must begin with http:// or https://, not {self.uri}"
            found.append(f"{told}. A store on this disk is track.folder")
        return found

    def open(self) -> Tracker:
        """Open or create the store, mark runs whose process was killed, and return the tracker.

        Raises SleepyError if the folder, the database or the server cannot be used.
        """
        folder = Path(self.folder)
        tracker = Tracker(
            open_server(self.uri, folder, self.experiment) if self.uri else open_store(folder, self.experiment)
        )
        tracker.mark_killed()
        return tracker
