"""A run that is to be repeated, from where it is recorded: an MLflow run, or a committed experiment with its lock."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf

from sleepy.errors import ConfigError
from sleepy.options import CONF
from sleepy.replay.circumstances import circumstances
from sleepy.replay.lines import DIFFERS, SAME, Line, named
from sleepy.replay.made import Made, made_by, scores_of
from sleepy.results import Scores
from sleepy.track.log import CHOICES, CONFIG, RUN_ID, WORDS
from sleepy.track.run import flat
from sleepy.track.tracker import Tracker

# Keys that say where something is, or what is repeated. They are of the command that repeats, not of the record.
PLACES = ("cache", "checkpoints", "episodes", "track", "debug", "sweep", "replay", "record")
LOCK = ".lock.json"
_RUN = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True)
class Recorded:
    """What is known of a run: its id or the record's `name`, the resolved config without PLACES, options by group, the
    words of its command line, what it was made with and what it made. `run` is its id, "" where this store has no such
    run; `drift` says whether a record's YAML still gives the config that was recorded."""

    name: str
    run: str
    config: dict[str, Any]
    choices: dict[str, str]
    words: tuple[str, ...]
    circumstances: dict[str, str]
    made: Made
    figures: Mapping[str, float] = field(default_factory=dict)
    scores: Mapping[str, Scores] = field(default_factory=dict)
    drift: tuple[Line, ...] = ()


def recorded(place: str, tracker: Tracker) -> Recorded:
    """The run with this id or in this folder, or the record of this name or with this lock. Raises ConfigError where
    there is none, or none that could be repeated."""
    lock = Path(place) if place.endswith(LOCK) else CONF / "experiment" / f"{place}{LOCK}"
    if lock.is_file():
        return _from_lock(lock, tracker)
    number = _number(place)
    run = tracker.find(number) if number else None
    if run is None:
        raise ConfigError(
            f"{place}: found no such run, expected the id of a run in this store (track.folder), the folder of one, or "
            f"the name of a record in conf/experiment (a .yaml with a {LOCK} beside it)"
        )
    folder = tracker.files(run)
    if run.info.status != "FINISHED" or not (folder / CONFIG).is_file():
        kind = "is a sweep, or has lost its artifacts" if run.info.status == "FINISHED" else f"is {run.info.status}"
        raise ConfigError(f"run {number} {kind}: there is nothing to repeat. Give a run that has finished")
    texts = {f"record/{p.name}": p.read_text(encoding="utf-8") for p in (folder / "record").glob("*")}
    chosen = folder / CHOICES
    return Recorded(
        name=run.info.run_id,
        run=run.info.run_id,
        config=_significant(yaml.safe_load((folder / CONFIG).read_text(encoding="utf-8"))),
        choices=yaml.safe_load(chosen.read_text(encoding="utf-8")) if chosen.is_file() else {},
        words=tuple((folder / WORDS).read_text(encoding="utf-8").splitlines()),
        circumstances=circumstances(run.data.tags, run.data.params, texts),
        made=made_by(tracker, run),
        figures=run.data.metrics,
        scores=scores_of(tracker, run),
    )


def _number(place: str) -> str:
    """The id of the run that is meant: itself, or what its folder says; "" where it says none."""
    noted = Path(place) / RUN_ID
    given = noted.read_text(encoding="utf-8").strip() if noted.is_file() else place
    return next((part for part in reversed(Path(given).parts) if _RUN.fullmatch(part)), "")


def _from_lock(path: Path, tracker: Tracker) -> Recorded:
    lock, name = json.loads(path.read_text(encoding="utf-8")), path.name.removesuffix(LOCK)
    config = composed([f"experiment={name}"], path.parent)
    # An option that came later is not in the lock; its default is what was done before.
    other = {key: values for key, values in differing(lock["config"], config).items() if values[0] is not None}
    shown = named([f"{key} ({old}, now {new})" for key, (old, new) in other.items()])
    return Recorded(
        name=name,
        run=lock["run"] if tracker.find(lock["run"]) else "",
        config=config,
        choices=lock["choices"],
        words=(f"experiment={name}",),
        circumstances=lock["circumstances"],
        made=Made(**lock["made"]),
        drift=(Line("config", DIFFERS if other else SAME, shown if other else ""),),
    )


def composed(words: list[str], folder: Path) -> dict[str, Any]:
    """The config of a command line without PLACES; experiments may also be in `folder`, which is called experiment.
    Raises Hydra's exceptions for what cannot be composed."""
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("config", [*words, f"hydra.searchpath=['{folder.resolve().parent.as_uri()}']"])
        resolved: Any = OmegaConf.to_container(config, resolve=True)
    return _significant(resolved)


def _significant(config: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in config.items() if key not in PLACES}


def differing(then: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, tuple[str | None, str | None]]:
    """The dotted keys in which two configs differ, with both values."""
    old, new = flat(then), flat(now)
    return {k: (old.get(k), new.get(k)) for k in {**old, **new} if old.get(k) != new.get(k)}
