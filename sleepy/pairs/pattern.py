"""The pairs of a few patterns: what an adapter for one kind of mistake is trained on."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, field

from sleepy.artifacts import Task, TaskSet
from sleepy.errors import DataError
from sleepy.options import ranged
from sleepy.pairs.material import Mix
from sleepy.pairs.mix import Data, draw
from sleepy.results import Scores


@dataclass(frozen=True, kw_only=True)
class Pattern(Data):
    """Takes each pair of the given patterns.

    patterns: names of patterns, such as use_after_move (at least one).
    examples: examples in the mix. 0 takes each pair once (at least 0).
    """

    patterns: list[str] = field(default_factory=list)
    examples: int = ranged(0, at_least=0)

    @property
    def probe(self) -> int:
        """The baseline is not asked."""
        return 0

    def problems(self) -> list[str]:
        """What the fields' own bounds cannot say."""
        return [] if self.patterns else ["patterns is empty. Name some, for example data.patterns=[use_after_move]"]

    def compose(self, pairs: TaskSet, probed: Scores | None, seed: int | str, earlier: Sequence[Task] = ()) -> Mix:
        """See Data.compose. Raises DataError for a pattern without pairs."""
        known = sorted({t.pattern for t in pairs})
        for name in self.patterns:
            if name not in known:
                near = difflib.get_close_matches(name, known, 3, 0.4)
                advice = f"Did you mean {' or '.join(near)}?" if near else f"Choose from {', '.join(known)}"
                raise DataError(f"data.patterns: no pairs have the pattern {name}. {advice}")
        pool = [t for t in pairs if t.pattern in self.patterns]
        return draw({"pattern": pool}, {"pattern": 1.0}, self.examples or len(pool), seed)
