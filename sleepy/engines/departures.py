"""Where a model would leave a text: read from its logits along that text."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from sleepy.artifacts import Departure

Text = Callable[[list[int]], bytes]
"""The bytes of tokens; those of a special token are empty."""


def log_sum(logits: Any) -> float:
    """log(sum(exp(logits))) of one row, (vocabulary,), in natural units."""
    import numpy as np

    top = logits.max()
    return float(top + np.log(np.exp(logits - top).sum(dtype=np.float64)))


class Departures:
    """The `count` likeliest departures from the tokens `copy`, found row by row.

    Left out is what is no other text: special tokens, parts of a character, and what the copy itself goes on with, cut
    into tokens in another way. So is a token with one of the `stops` in it: it would end the answer there.
    """

    def __init__(self, copy: list[int], count: int, text: Text, stops: tuple[str, ...]) -> None:
        self._copy, self._count, self._text, self._stops = copy, count, text, stops
        self._best: list[tuple[float, int, str]] = []  # a heap of (chance, -place, token)
        self._so_far = [0.0]  # log-probability of the first n tokens of the copy

    def read(self, logits: Any, place: int) -> float:
        """Take the logits, (vocabulary,), of what follows the first `place` tokens of the copy. Places come in order.
        Returns the log-probability of the copy's own token."""
        import numpy as np

        total, own = log_sum(logits), self._copy[place]
        self._so_far.append(self._so_far[-1] + float(logits[own]) - total)
        full = len(self._best) >= self._count
        if full:
            likely = np.flatnonzero(logits > total + self._best[0][0])
        else:  # twice as many as are wanted, since some are no departures
            likely = np.argpartition(logits, -min(2 * self._count + 8, len(logits)))[-2 * self._count - 8 :]
        rest = self._text(self._copy[place : place + 16]).decode(errors="replace") if len(likely) else ""
        for token in likely[np.argsort(-logits[likely], kind="stable")].tolist():
            text = self._other(token, rest) if token != own else ""
            if text:
                entry = (float(logits[token]) - total, -place, text)
                push = heapq.heappushpop if len(self._best) >= self._count else heapq.heappush
                push(self._best, entry)
        return self._so_far[-1] - self._so_far[-2]

    def _other(self, token: int, rest: str) -> str:
        """The text of a token if it departs from the copy, which goes on with `rest`; "" if not."""
        try:
            text = self._text([token]).decode()
        except UnicodeDecodeError:
            return ""
        return "" if rest.startswith(text) or any(stop.strip() in text for stop in self._stops) else text

    def found(self) -> tuple[Departure, ...]:
        """The likeliest first; among equals the first in the text."""
        result = []
        for chance, place, token in sorted(self._best, key=lambda best: (-best[0], -best[1])):
            before = self._text(self._copy[:-place]) if place else b""
            with suppress(UnicodeDecodeError):  # the place is within a character
                result.append(Departure(before.decode(), token, chance, self._so_far[-place], self._own(-place)))
        return tuple(result)

    def _own(self, place: int) -> str:
        """The copy's own token at a place, with those that end the character which it begins, if it does."""
        for end in range(place + 1, len(self._copy) + 1):
            with suppress(UnicodeDecodeError):
                return self._text(self._copy[place:end]).decode()
        return ""
