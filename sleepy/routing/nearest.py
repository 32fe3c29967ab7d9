"""Routing by the training pairs with the most similar compiler messages."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from sleepy.artifacts import Check, Task, TaskSet
from sleepy.options import ranged
from sleepy.routing.route import Route, Routing, require_pairs
from sleepy.rust.messages import full_message, spoken_words
from sleepy.rust.similarity import jaccard


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
        known = [(pair.pattern, spoken_words(pair.message) | {pair.code}) for pair in pairs]

        def route(task: Task, broken: Check) -> str:
            words = spoken_words(full_message(broken.diagnostics)).union(broken.codes)
            alike = [(jaccard(words, own), pattern) for pattern, own in known]
            ranked = sorted(alike, key=lambda found: -found[0])  # equal ones stay in the pairs' order
            votes: dict[str, list[float]] = defaultdict(list)
            for similarity, pattern in ranked[: self.neighbours]:
                votes[pattern].append(similarity)
            winner = max(votes, key=lambda pattern: sum(votes[pattern]))
            return winner if winner in names and max(votes[winner]) >= self.threshold else ""

        return route
