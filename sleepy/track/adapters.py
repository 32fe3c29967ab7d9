"""Adapters by where they are: PEFT folders, folders of such, and MLflow runs."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from sleepy.adapters.find import find_adapters
from sleepy.errors import ConfigError
from sleepy.track.tracker import PARENT, Tracker

_RUN = re.compile(r"(?:runs:/)?([0-9a-f]{32})/?(.*)")
_OWN = "adapter"  # the folder that sleepy puts a run's adapter into


def adapter_folders(tracker: Tracker, places: Sequence[str]) -> dict[str, Path]:
    """PEFT folders by name, in the order of `places`: PEFT folders, folders of such, ids of runs, runs:/<id>, or
    runs:/<id>/<folder of its artifacts>. A run whose children have adapters stands for those: what it made of them
    itself is not one more.

    What lies in a folder "adapter" bears the run's name or the name of the folder above, all else its own folder's; a
    longer name where two would be the same. Raises ConfigError for a place without adapters.
    """
    found: dict[Path, tuple[str, ...]] = {}  # folder -> its names, from the shortest to one that nothing else has
    for place in places:
        run = _RUN.fullmatch(place)
        here = _of_run(tracker, *run.groups()) if run and not Path(place).is_dir() else _of_folder(Path(place))
        if not here:
            raise ConfigError(
                f"{place}: found no adapter, expected a PEFT folder, a folder of such, or an MLflow run that has "
                "adapters (its id, or runs:/<id>)"
            )
        found |= here
    names = [options[0] for options in found.values()]
    for length in range(1, max(map(len, found.values()), default=0)):
        counts = Counter(names)
        names = [
            options[min(length, len(options) - 1)] if counts[name] > 1 else name
            for name, options in zip(names, found.values(), strict=True)
        ]
    return dict(zip(names, found, strict=True))


def _of_folder(place: Path) -> dict[Path, tuple[str, ...]]:
    """Named by the folders above where the last one is but "adapter"."""
    return {
        folder: (folder.parent.name if name == _OWN else name.removesuffix(f"/{_OWN}"), str(folder))
        for name, folder in find_adapters([place]).items()
    }


def _of_run(tracker: Tracker, run_id: str, within: str = "") -> dict[Path, tuple[str, ...]]:
    """Adapters among a run's artifacts, or among those of its children; {} for a run that is unknown."""
    from mlflow.exceptions import MlflowException
    from mlflow.utils.file_utils import local_file_uri_to_path

    with tracker._store.using() as client:
        try:
            run = client.get_run(run_id)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return {}
    if not within:
        children = tracker._search(f"tags.`{PARENT}` = '{run_id}'", [run.info.experiment_id])
        below: dict[Path, tuple[str, ...]] = {}
        for child in sorted(children, key=lambda child: (child.info.start_time, child.info.run_id)):
            below |= _of_run(tracker, child.info.run_id)
        if below:
            return below
    own = run.info.run_name
    found: dict[Path, tuple[str, ...]] = {}
    for name, folder in find_adapters([Path(local_file_uri_to_path(run.info.artifact_uri)) / within]).items():
        short, long = (own, own) if folder.name == _OWN else (name, f"{own}/{name}")
        found[folder] = (short, long, f"{long} {run_id}")
    return found
