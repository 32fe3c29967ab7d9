"""By the training pairs whose errors read most alike."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from sleepy.artifacts import Check, Task, TaskSet
from sleepy.options import ranged
from sleepy.routing.route import Route, Routing, require_pairs
from sleepy.rust.messages import full_message, spoken_words
from sleepy.rust.similarity import jaccard


@dataclass(frozen=True, kw_only=True)
class Nearest(Routing):
    """The pattern that has most of the nearest training pairs, weighted by their similarity: the Jaccard similarity of
    the words that the compiler says. Neither the koan's pattern nor its fix or tests are looked at.

    threshold: similarity of the winner's nearest pair below which the base model answers (0 to 1). The default has the
        best mean of two rates over the training pairs alone, ten-fold: pairs that find their pattern, and pairs of
        patterns left out that find none.
    neighbours: training pairs that vote (at least 1).
    """

    threshold: float = ranged(0.6, at_least=0, at_most=1)
    neighbours: int = ranged(5, at_least=1)

    def open(self, pairs: TaskSet, names: Sequence[str]) -> Route:
        """See Routing.open."""
        require_pairs(pairs, names, "nearest")
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

    def identity(self) -> dict[str, object]:
        """See Routing.identity."""
        return {"routing": "nearest", **asdict(self)}
