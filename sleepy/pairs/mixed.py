"""Old, passed and failed pairs in stated proportions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sleepy.artifacts import Task, TaskSet
from sleepy.options import ranged
from sleepy.pairs.material import Mix
from sleepy.pairs.mix import Data, draw, outcomes
from sleepy.results import Scores


@dataclass(frozen=True, kw_only=True)
class Mixed(Data):
    """A mix of three parts. The weights need not add up to one.

    replay: weight of pairs drawn from all pairs (in a stream: of earlier tasks), whatever the baseline makes of them
        (at least 0).
    success: weight of pairs that the baseline passes (at least 0).
    hard: weight of pairs that the baseline fails. If there are few, they are drawn several times (at least 0).
    copies: how often to draw each pair that the baseline fails, instead of by weight. With 0 the weight counts (at
        least 0).
    examples: examples in the mix (at least 1).
    probe: how many pairs, spread over the patterns, the baseline is asked (at least 1).
    """

    replay: float = ranged(0.44, at_least=0)
    success: float = ranged(0.42, at_least=0)
    hard: float = ranged(0.14, at_least=0)
    copies: int = ranged(0, at_least=0)
    examples: int = ranged(120, at_least=1)
    probe: int = ranged(24, at_least=1)

    def problems(self) -> list[str]:
        """What the fields' own bounds cannot say."""
        return [] if self.replay + self.success + self.hard > 0 else ["replay, success and hard must not all be 0"]

    def compose(self, pairs: TaskSet, probed: Scores | None, seed: int | str, earlier: Sequence[Task] = ()) -> Mix:
        """See Data.compose."""
        passed, failed = outcomes(pairs, probed) if probed else ([], [])
        pools = {"replay": earlier or pairs.tasks, "success": passed, "hard": failed}
        weights = {"replay": self.replay, "success": self.success, "hard": self.hard}
        return draw(pools, weights, self.examples, seed, {"hard": self.copies * len(failed)} if self.copies else {})
