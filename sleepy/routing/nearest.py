"""Routing by the training pairs with the most similar compiler messages."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from sleepy.artifacts import Check, Task, TaskSet
from sleepy.options import ranged
from sleepy.routing.route import Route, Routing, require_pairs
from sleepy.rust.messages import full_message, spoken

_WORD = re.compile(r"[^\W\d]\w*|[?!&]")


def _words(message: str, codes: Sequence[str]) -> frozenset[str]:
    """The words of a compiler message, and its error codes. Names are kept: `Option` is informative, and a program's
    own names, which no pair contains, lower every similarity alike."""
    return frozenset(codes) | {word.lower() for line in spoken(message) for word in _WORD.findall(line)}


@dataclass(frozen=True, kw_only=True)
class Nearest(Routing):
    """The pattern with the most votes of the nearest training pairs, weighted by their similarity, which is the Jaccard
    similarity of the words in the compiler messages. The koan's pattern, fix and tests are not looked at.

    threshold: the base model answers if the winner's nearest pair is less similar than this (0 to 1). The default has
        the best mean of two rates in ten-fold cross-validation on the training pairs alone: pairs that find their own
        pattern, and pairs of left-out patterns that find none.
    neighbours: how many training pairs vote (at least 1).
    """

    threshold: float = ranged(0.6, at_least=0, at_most=1)
    neighbours: int = ranged(5, at_least=1)

    def open(self, pairs: TaskSet, names: Sequence[str]) -> Route:
        """See Routing.open."""
        require_pairs(pairs, names, self.name)
        known = [(pair.pattern, _words(pair.message, [pair.code])) for pair in pairs]

        def route(task: Task, broken: Check) -> str:
            words = _words(full_message(broken.diagnostics), broken.codes)
            alike = [(len(words & own) / len(words | own), pattern) for pattern, own in known]
            ranked = sorted(alike, key=lambda found: -found[0])  # equal ones stay in the pairs' order
            votes: dict[str, list[float]] = defaultdict(list)
            for similarity, pattern in ranked[: self.neighbours]:
                votes[pattern].append(similarity)
            winner = max(votes, key=lambda pattern: sum(votes[pattern]))
            return winner if winner in names and max(votes[winner]) >= self.threshold else ""

        return route
