"""A finished run as an experiment to commit: a YAML that makes its config again, and a lock that says what it made."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from sleepy.errors import ConfigError
from sleepy.files import write_json, write_text
from sleepy.options import CONF
from sleepy.replay.recorded import LOCK, PLACES, Recorded, composed, differing, recorded
from sleepy.settings import GROUPS
from sleepy.track.repeats import Record
from sleepy.track.tracker import Tracker

_FIGURES = re.compile(r"(baseline|eval|delivered|rustfix)/(passed|tasks)|(compare|gate|stream)/\w+|export/(kept|bytes)")


def write_experiment(asked: Record, tracker: Tracker) -> Path:
    """Write the run as <name>.yaml and its lock beside it; the YAML's path. Raises ConfigError for a run that is not
    there or not finished, for a name that is taken, and for options that conf/ does not have."""
    earlier = recorded(asked.run, tracker)
    path = (Path(asked.folder) if asked.folder else CONF / "experiment") / f"{asked.name}.yaml"
    if path.exists():
        raise ConfigError(f"record.name: {path} is there already. Choose another name, or remove it")
    missing = [g for g in GROUPS if not (CONF / g / f"{earlier.choices.get(g)}.yaml").is_file()]
    if missing:
        raise ConfigError(f"run {earlier.run}: conf/ has no option for what it chose of {', '.join(missing)}")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, _yaml(earlier, asked.name, path.parent))
    if other := differing(earlier.config, composed([f"experiment={asked.name}"], path.parent)):
        path.unlink()
        raise ConfigError(f"run {earlier.run} cannot be written as an experiment: {', '.join(other)} would change")
    figures = {name: value for name, value in earlier.figures.items() if _FIGURES.fullmatch(name)}
    lock = {
        "run": earlier.run, "config": earlier.config, "choices": earlier.choices, "figures": figures,
        "circumstances": earlier.circumstances, "made": earlier.made.data,
    }  # fmt: skip
    write_json(path.with_name(f"{asked.name}{LOCK}"), lock)
    return path


def _yaml(earlier: Recorded, name: str, folder: Path) -> str:
    """All choices, and the values that are not the options' own."""
    plain = composed([f"{group}={earlier.choices[group]}" for group in GROUPS], folder)
    values = _rest(earlier.config, plain)
    words = [word for word in earlier.words if word.partition("=")[0].partition(".")[0] not in PLACES]
    told = " ".join(words) or "defaults"
    lines = [
        "# @package _global_",
        f"# A record of {told if len(told) < 80 else f'{told[:80]}...'}: `replay={name}` repeats it.",
        "defaults:",
        *(f"  - override /{group}: {earlier.choices[group]}" for group in GROUPS),
        "",
    ]
    return "\n".join(lines) + (yaml.safe_dump(values, sort_keys=False) if values else "")


def _rest(config: Mapping[str, Any], plain: Mapping[str, Any]) -> dict[str, Any]:
    """What is in `config` and not the same in `plain`."""
    found: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping) and isinstance(plain.get(key), Mapping):
            if below := _rest(value, plain[key]):
                found[key] = below
        elif key not in plain or value != plain[key]:
            found[key] = value
    return found
