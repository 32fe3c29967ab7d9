"""Rehearsal alone: what keeps a model where it is."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from sleepy.artifacts import Task, TaskSet
from sleepy.options import ranged
from sleepy.pairs.material import Mix
from sleepy.pairs.mix import Data, draw
from sleepy.results import Scores


@dataclass(frozen=True, kw_only=True)
class Replay(Data):
    """Pairs drawn evenly over the patterns (in a stream: of earlier tasks), whatever the baseline makes of them.

    examples: examples in the mix (at least 1).
    """

    examples: int = ranged(120, at_least=1)

    @property
    def probe(self) -> int:
        """The baseline is not asked."""
        return 0

    def compose(self, pairs: TaskSet, probed: Scores | None, seed: int | str, earlier: Sequence[Task] = ()) -> Mix:
        """See Data.compose."""
        pools: dict[str, list[Task]] = defaultdict(list)
        for task in earlier or pairs:
            pools[task.pattern].append(task)
        mix = draw(pools, dict.fromkeys(pools, 1.0), self.examples, seed)
        return Mix(mix.examples, {"replay": len(mix.examples)})
