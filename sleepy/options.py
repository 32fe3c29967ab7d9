"""The vocabulary in which options state their own ranges, and the check that reports every problem at once.

Every option is a frozen dataclass: its fields are the keys a user may set, their types are checked by Hydra when the
config is composed. What `ranged`, `choice` and a `problems()` method say is checked before anything is loaded.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import field, fields
from pathlib import Path
from typing import Any

CONF = Path(__file__).parent.parent / "conf"
_TARGET = re.compile(r"^_target_:\s*(\S+)", re.MULTILINE)


def groups() -> tuple[str, ...]:
    """The groups of conf/, each a choice among YAML files, in the order of config.yaml."""
    chosen = re.findall(r"^  - (\w+): ", (CONF / "config.yaml").read_text(encoding="utf-8"), re.MULTILINE)
    return tuple(name for name in chosen if name != "experiment")


def targets() -> Iterator[tuple[str, str]]:
    """(group, dotted class) of every option: the class that a YAML names by `_target_`, each once."""
    seen = set()
    for group in groups():
        for path in sorted((CONF / group).glob("*.yaml")):
            found = _TARGET.search(path.read_text(encoding="utf-8"))
            if found and (group, found[1]) not in seen:
                seen.add((group, found[1]))
                yield group, found[1]


def ranged(
    default: Any,
    *,
    above: float | None = None,
    at_least: float | None = None,
    below: float | None = None,
    at_most: float | None = None,
) -> Any:
    """A dataclass field for a number with bounds (in the unit its docstring names)."""
    bounds = {"above": above, "at_least": at_least, "below": below, "at_most": at_most}
    return field(default=default, metadata={k: v for k, v in bounds.items() if v is not None})


def choice(default: str, *others: str) -> Any:
    """A dataclass field for one of a few words; the first is the default."""
    return field(default=default, metadata={"choices": (default, *others)})


_TESTS = {
    "above": (lambda v, b: v > b, "above"),
    "at_least": (lambda v, b: v >= b, "at least"),
    "below": (lambda v, b: v < b, "below"),
    "at_most": (lambda v, b: v <= b, "at most"),
}


def problems_of(option: Any, key: str = "") -> list[str]:
    """Every value of a dataclass `option` that its fields do not allow, as "key must be ..., not ..." lines."""
    found: list[str] = []
    prefix = f"{key}." if key else ""
    for f in fields(option):
        value, meta = getattr(option, f.name), f.metadata
        if "choices" in meta and value not in meta["choices"]:
            found.append(f"{prefix}{f.name} must be one of {', '.join(meta['choices'])}, not {value!r}")
        for name, (holds, words) in _TESTS.items():
            if name in meta and value is not None and not holds(value, meta[name]):
                found.append(f"{prefix}{f.name} must be {words} {meta[name]}, not {value!r}")
    own = getattr(option, "problems", None)
    return found + [f"{prefix}{line}" for line in (own() if own else [])]
