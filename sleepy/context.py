"""What every stage may use."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sleepy.progress import Stages
from sleepy.settings import Settings
from sleepy.track.run import Run
from sleepy.track.tracker import Tracker


@dataclass(frozen=True)
class Context:
    """What every stage may use: settings `s`, the names of the options chosen, where the run is recorded, and warnings
    that belong into its report."""

    s: Settings
    stages: tuple[str, ...]
    choices: dict[str, str]
    overrides: tuple[str, ...]
    tracker: Tracker
    run: Run
    folder: Path
    watch: Stages
    warnings: tuple[str, ...] = ()
    fresh: Path | None = None

    @property
    def cache(self) -> Path:
        """Folder of models."""
        return Path(self.s.cache).expanduser()

    @property
    def known(self) -> Path:
        """Folder of verdicts and scores, which are found once. Who repeats a run finds them anew, in `fresh`."""
        return self.fresh or self.cache
