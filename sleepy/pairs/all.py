"""Every training pair."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sleepy.artifacts import Task, TaskSet
from sleepy.options import ranged
from sleepy.pairs.material import Mix
from sleepy.pairs.mix import Data, draw
from sleepy.results import Scores


@dataclass(frozen=True, kw_only=True)
class All(Data):
    """Takes each pair once, whatever the baseline makes of it.

    examples: examples in the mix. 0 takes every pair (at least 0).
    """

    examples: int = ranged(0, at_least=0)

    @property
    def probe(self) -> int:
        """The baseline is not asked."""
        return 0

    def compose(self, pairs: TaskSet, probed: Scores | None, seed: int | str, earlier: Sequence[Task] = ()) -> Mix:
        """See Data.compose."""
        return draw({"all": pairs.tasks}, {"all": 1.0}, self.examples or len(pairs), seed)
