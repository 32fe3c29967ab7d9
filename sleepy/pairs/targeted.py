"""Every pair of the patterns that the baseline fails."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sleepy.artifacts import Task, TaskSet
from sleepy.options import ranged
from sleepy.pairs.material import Mix
from sleepy.pairs.mix import Data, draw, outcomes
from sleepy.results import Scores


@dataclass(frozen=True, kw_only=True)
class Targeted(Data):
    """Takes all pairs, probed or not, of each pattern in which the baseline failed enough of the pairs that it was
    asked.

    probe: how many pairs, spread over the patterns, the baseline is asked (at least 1).
    failing: share of a pattern's probed pairs that must fail (above 0, at most 1).
    examples: examples in the mix. 0 takes each pair once (at least 0).
    """

    probe: int = ranged(24, at_least=1)
    failing: float = ranged(0.5, above=0, at_most=1)
    examples: int = ranged(0, at_least=0)

    def compose(self, pairs: TaskSet, probed: Scores | None, seed: int | str, earlier: Sequence[Task] = ()) -> Mix:
        """See Data.compose."""
        passed, failed = outcomes(pairs, probed) if probed else ([], [])
        lost = [t.pattern for t in failed]
        asked = lost + [t.pattern for t in passed]
        weak = {p for p in lost if lost.count(p) >= self.failing * asked.count(p)}
        pool = [t for t in pairs if t.pattern in weak]
        return draw({"targeted": pool}, {"targeted": 1.0}, self.examples or len(pool), seed)
