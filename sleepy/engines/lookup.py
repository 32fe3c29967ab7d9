"""Drafts for an answer that is nearly a copy of a known text (prompt lookup, aligned)."""

from __future__ import annotations

from collections.abc import Sequence

# Tokens a draft: with the token before it, 16 or 32 in a call. llama.cpp's kernels take 16 rows at once: 17 cost a
# third more, and 5 hardly less (docs/results/engines.md).
_SHORTEST, _LONGEST = 15, 31


class Lookup:
    """Follows an answer through the text it probably repeats, and proposes what comes next.

    After a token that is not the expected one, the place is found again by the last tokens of the answer: the longest
    match first (3, 2, 1 tokens), the one nearest to the old place among equals. Drafts grow while they are accepted.
    """

    def __init__(self, source: Sequence[int]) -> None:
        self.source = list(source)
        self.place: int | None = 0
        self.length = _SHORTEST
        self._expected = 0
        self._tail: list[int] = []

    def draft(self) -> list[int]:
        """The tokens proposed to come next; may be empty."""
        return [] if self.place is None else self.source[self.place : self.place + self.length]

    def accept(self, tokens: Sequence[int], drafted: int) -> None:
        """The answer went on with `tokens`; `drafted` tokens had been proposed for them."""
        right = len(tokens) - 1  # all but the last came from the draft
        if drafted:
            self.length = _LONGEST if right >= drafted else _SHORTEST
        self._tail = (self._tail + list(tokens))[-3:]
        place = self.place
        if place is not None:
            self._expected = place + right
            if self._expected < len(self.source) and self.source[self._expected] == tokens[-1]:
                self.place = self._expected + 1
                return
        self.place = self._find()

    def _find(self) -> int | None:
        for size in range(min(3, len(self._tail)), 0, -1):
            tail = self._tail[-size:]
            places = [i + size for i in range(len(self.source) - size + 1) if self.source[i : i + size] == tail]
            if places:
                return min(places, key=lambda i: (abs(i - self._expected - 1), i))
        return None
