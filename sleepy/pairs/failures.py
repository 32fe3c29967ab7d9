"""Only what the baseline fails."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sleepy.artifacts import Task, TaskSet
from sleepy.options import ranged
from sleepy.pairs.material import Mix
from sleepy.pairs.mix import Data, draw, outcomes
from sleepy.results import Scores


@dataclass(frozen=True, kw_only=True)
class Failures(Data):
    """Takes each pair that the baseline fails once.

    probe: how many pairs, spread over the patterns, the baseline is asked (at least 1).
    """

    probe: int = ranged(24, at_least=1)

    def compose(self, pairs: TaskSet, probed: Scores | None, seed: int | str, earlier: Sequence[Task] = ()) -> Mix:
        """See Data.compose."""
        failed = outcomes(pairs, probed)[1] if probed else []
        return draw({"hard": failed}, {"hard": 1.0}, len(failed), seed)
