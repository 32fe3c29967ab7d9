"""A program cut into pieces by where a model doubts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from sleepy.artifacts import Departure


@dataclass(frozen=True)
class Piece:
    """A part of a program: a token with the departures in its place, the likeliest first, or text without any. The text
    is "" behind the program's end."""

    text: str
    others: tuple[Departure, ...] = ()

    @property
    def doubt(self) -> float:
        """The probability of writing something else here, as far as it is known: what the departures have together."""
        return min(1.0, sum(math.exp(d.chance) for d in self.others))


def pieces(program: str, departures: Sequence[Departure]) -> list[Piece]:
    """The program as pieces, which together are its text without the line ends at its end, and then perhaps one for
    what the model would add. A departure that does not follow the program's text is left out."""
    text = program.rstrip("\n")
    groups: dict[int, list[Departure]] = {}
    for departure in departures:
        if text.startswith(departure.before):
            groups.setdefault(len(departure.before), []).append(departure)
    found, at = list[Piece](), 0
    starts = sorted(groups)
    for start, following in zip(starts, [*starts, len(text)][1:], strict=True):
        if start > at:
            found.append(Piece(text[at:start]))
        others = tuple(sorted(groups[start], key=lambda d: -d.chance))
        at = min(start + len(others[0].instead), max(following, start))
        found.append(Piece(text[start:at], others))
    return [*found, Piece(text[at:])] if at < len(text) else found
