"""Every training pair."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sleepy.artifacts import Task, TaskSet
from sleepy.errors import DataError
from sleepy.options import ranged
from sleepy.pairs.material import Mix
from sleepy.pairs.mix import Data, draw
from sleepy.results import Scores


@dataclass(frozen=True, kw_only=True)
class All(Data):
    """Takes each pair once, whatever the baseline makes of it.

    families: take only the pairs of these families; empty takes all.
    examples: examples in the mix. 0 takes every pair (at least 0).
    """

    families: list[str] | None = None
    examples: int = ranged(0, at_least=0)

    @property
    def probe(self) -> int:
        """The baseline is not asked."""
        return 0

    def compose(self, pairs: TaskSet, probed: Scores | None, seed: int | str, earlier: Sequence[Task] = ()) -> Mix:
        """See Data.compose. Raises DataError for a family without pairs."""
        known = sorted({t.family for t in pairs})
        if wrong := [name for name in self.families or [] if name not in known]:
            raise DataError(
                f"data.families: no pairs have the family {', '.join(wrong)}. Choose from {', '.join(known)}"
            )
        pool = [t for t in pairs if not self.families or t.family in self.families]
        return draw({"all": pool}, {"all": 1.0}, self.examples or len(pool), seed)
