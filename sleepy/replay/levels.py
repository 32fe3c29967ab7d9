"""How far two runs came to the same: six levels from the mix to the paired test."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sleepy.adapters.folder import read_lora
from sleepy.replay.lines import DIFFERS, SAME, UNKNOWN, Line, line_of_many
from sleepy.replay.made import Made

LEVELS = {
    "mix": "mix", "adapter": "adapter, to the bit", "rounding": "adapter, up to rounding", "answers": "answers",
    "verdicts": "verdicts", "test": "paired test",
}  # fmt: skip
ROUNDING = 0.05


def levels(then: Made, now: Made) -> list[Line]:
    """A line for each level that one of the two runs has anything for, in the order of LEVELS."""
    parts: dict[str, tuple[Mapping[str, Any], Mapping[str, Any]]] = {
        "mix": (then.mixes, now.mixes),
        "adapter": (then.adapters, now.adapters),
        "rounding": (then.adapters, now.adapters),
        "answers": (then.answers, now.answers),
        "verdicts": (then.verdicts, now.verdicts),
        "test": (then.test, now.test),
    }
    found = {level: line_of_many(LEVELS[level], *pair) for level, pair in parts.items() if any(pair)}
    if "rounding" in found:
        found["rounding"] = _rounding(then, now)
    if "test" in found:
        found["test"] = found["test"]._replace(note=" / ".join(map(_counted, parts["test"])))
    return list(found.values())


def from_level(lines: Sequence[Line], level: str) -> list[Line]:
    """The lines of a level and of all after it."""
    words = list(LEVELS.values())
    return [line for line in lines if words.index(line.what) >= list(LEVELS).index(level)]


def reached(lines: Sequence[Line]) -> str:
    """The first level from which on everything is the same; "none" where even the last one is not."""
    for level in LEVELS:
        below = from_level(lines, level)
        if below and all(line.state == SAME for line in below):
            return level
    return "none"


def _counted(test: Mapping[str, Any]) -> str:
    """A paired test in a few words."""
    return f"+{len(test['fixes'])} -{len(test['regressions'])}, p {test['p_value']:.2g}" if test else "none"


def _rounding(then: Made, now: Made) -> Line:
    """Whether the adapters differ by no more than rounding does, and from which step of the training on."""
    what = LEVELS["rounding"]
    if then.adapters == now.adapters:
        return Line(what, SAME)
    if then.adapters.keys() != now.adapters.keys():
        return Line(what, DIFFERS, "there are others")
    if not (then.folders and now.folders):
        return Line(what, UNKNOWN, f"a lock has no tensors to compare; {_parting(then, now)}")
    other = [name for name, digest in then.adapters.items() if digest != now.adapters[name]]
    apart = max(distance(then.folders[name], now.folders[name]) for name in other)
    return Line(what, SAME if apart <= ROUNDING else DIFFERS, f"{100 * apart:.2g} % apart; {_parting(then, now)}")


def _parting(then: Made, now: Made) -> str:
    """From which step on the losses differ, for the first training in which they do."""
    for name in {**then.losses, **now.losses}:
        old, new = then.losses.get(name, []), now.losses.get(name, [])
        if old != new:
            step = next((i for i, (a, b) in enumerate(zip(old, new, strict=False)) if a != b), min(len(old), len(new)))
            return f"{name}the loss differs from step {step + 1} of {max(len(old), len(new))} on"
    return "the losses of all steps are the same"


def distance(one: Path, other: Path) -> float:
    """How far two adapters' updates are apart: |dW' - dW| / |dW|, Frobenius norms over all layers; infinite where the
    layers are others. Found from products of the factors, r x r, without the updates themselves. Raises ModelError for
    an adapter that is not plain LoRA."""
    first, second = read_lora(one), read_lora(other)
    size = difference = 0.0
    for name in {**first, **second}:
        if name not in first or name not in second or first[name][1].shape[1] != second[name][1].shape[1]:
            return math.inf
        (b, a), (d, c) = ((x.double() for x in pair) for pair in (first[name], second[name]))
        square = float(((b.T @ b) * (a @ a.T)).sum())
        size += square
        difference += square + float(((d.T @ d) * (c @ c.T)).sum()) - 2 * float(((b.T @ d) * (a @ c.T)).sum())
    return math.sqrt(max(difference, 0.0) / size) if size else math.inf
