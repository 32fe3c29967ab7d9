"""The vocabulary in which options state their own ranges, and the check that reports every problem at once.

Every option is a frozen dataclass: its fields are the keys a user may set, their types are checked by Hydra when the
config is composed, and what `ranged`, `choice` and a `problems()` method say is checked here, before anything loads.
"""

from __future__ import annotations

from dataclasses import field, fields
from typing import Any


def ranged(default: Any, *, above: float | None = None, at_least: float | None = None,
           below: float | None = None, at_most: float | None = None) -> Any:
    """A dataclass field for a number with bounds (in the unit its docstring names)."""
    bounds = {"above": above, "at_least": at_least, "below": below, "at_most": at_most}
    return field(default=default, metadata={k: v for k, v in bounds.items() if v is not None})


def choice(default: str, *others: str) -> Any:
    """A dataclass field for one of a few words; the first is the default."""
    return field(default=default, metadata={"choices": (default, *others)})


_TESTS = {
    "above": (lambda v, b: v > b, "above {}"),
    "at_least": (lambda v, b: v >= b, "at least {}"),
    "below": (lambda v, b: v < b, "below {}"),
    "at_most": (lambda v, b: v <= b, "at most {}"),
}


def problems_of(option: Any, key: str) -> list[str]:
    """Every value of a dataclass `option` that its fields do not allow, as "key: found ..., expected ..." lines."""
    found: list[str] = []
    for f in fields(option):
        value, meta = getattr(option, f.name), f.metadata
        if "choices" in meta and value not in meta["choices"]:
            found.append(f"{key}.{f.name}: found {value!r}, expected one of {', '.join(meta['choices'])}")
        for name, (holds, words) in _TESTS.items():
            if name in meta and value is not None and not holds(value, meta[name]):
                found.append(f"{key}.{f.name}: found {value!r}, expected a value {words.format(meta[name])}")
    own = getattr(option, "problems", None)
    return found + [f"{key}.{line}" for line in (own() if own else [])]
