"""Adapters by where they are: PEFT folders, folders of such, and MLflow runs."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sleepy.adapters.find import find_adapters
from sleepy.errors import ConfigError
from sleepy.track.tracker import Tracker

if TYPE_CHECKING:
    from mlflow.entities import Run as Stored

_RUN = re.compile(r"(?:runs:/)?([0-9a-f]{32})/?(.*)")
_OWN = "adapter"  # the folder that sleepy puts a run's adapter into

Names = tuple[str, str, str]  # from the shortest to one that no other adapter has


def adapter_folders(tracker: Tracker, places: Sequence[str]) -> dict[str, Path]:
    """PEFT folders by name, in the order of `places`: PEFT folders, folders of such, ids of runs, runs:/<id>, or
    runs:/<id>/<folder of its artifacts>. A run whose children have adapters stands for theirs, not for its own, which
    was made from them.

    An adapter in a folder "adapter" is named after its run or the folder above, any other after its own folder; it gets
    a longer name if two would be the same. Raises ConfigError for a place without adapters.
    """
    found: dict[Path, Names] = {}
    for place in places:
        match = None if Path(place).is_dir() else _RUN.fullmatch(place)
        run = tracker.find(match[1]) if match else None
        here = _of_run(tracker, run, match[2]) if match and run else _of_folder(Path(place))
        if not here:
            raise ConfigError(
                f"{place}: there is no adapter. Name a PEFT folder, a folder that contains some, or an MLflow run that "
                "has adapters (its id, or runs:/<id>)"
            )
        found |= here
    names = {path: options[0] for path, options in found.items()}
    for longer in (1, 2):
        counts = Counter(names.values())
        names = {path: found[path][longer] if counts[name] > 1 else name for path, name in names.items()}
    return {name: path for path, name in names.items()}


def _of_folder(place: Path) -> dict[Path, Names]:
    return {
        path: (path.parent.name if name == _OWN else name.removesuffix(f"/{_OWN}"), str(path), str(path))
        for name, path in find_adapters([place]).items()
    }


def _of_run(tracker: Tracker, run: Stored, within: str = "") -> dict[Path, Names]:
    """Adapters among the artifacts of the run's children, or if there are none, among its own."""
    found: dict[Path, Names] = {}
    for child in () if within else tracker.children(run):
        found |= _of_run(tracker, child)
    if not found:
        own = run.info.run_name
        for name, path in find_adapters([tracker.files(run, within)]).items():
            long = own if path.name == _OWN else f"{own}/{name}"
            found[path] = (own if path.name == _OWN else name, long, f"{long} {run.info.run_id}")
    return found
