"""Old, repaired and failed pairs in stated proportions, as recorded episodes have them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sleepy.artifacts import Task, TaskSet, digest_of
from sleepy.episodes.store import open_episodes
from sleepy.errors import NothingToLearn
from sleepy.options import ranged
from sleepy.pairs.material import Mix
from sleepy.pairs.mix import Data, draw
from sleepy.results import Scores


@dataclass(frozen=True, kw_only=True)
class Episodes(Data):
    """The mix of data=mixed without asking the baseline: recorded attempts say what fails and what passes. Only
    episodes of pairs count, not those of koans.

    path: the file of episodes.
    run: take only episodes of this run. "" takes those of all runs.
    last: how many of a pair's newest attempts count. The pair fails when none of them passed (at least 1).
    replay: weight of pairs drawn from all pairs (in a stream: of earlier tasks), attempted or not (at least 0).
    success: weight of pairs that were repaired (at least 0).
    hard: weight of pairs that failed. If there are few, they are drawn several times (at least 0).
    examples: examples in the mix (at least 1).
    """

    path: str = "episodes.db"
    run: str = ""
    last: int = ranged(1, at_least=1)
    replay: float = ranged(0.44, at_least=0)
    success: float = ranged(0.42, at_least=0)
    hard: float = ranged(0.14, at_least=0)
    examples: int = ranged(120, at_least=1)

    @property
    def probe(self) -> int:
        """The baseline is not asked."""
        return 0

    def problems(self) -> list[str]:
        """What the fields' own bounds cannot say."""
        return [] if self.replay + self.success + self.hard > 0 else ["replay, success and hard must not all be 0"]

    def compose(self, pairs: TaskSet, probed: Scores | None, seed: int | str, earlier: Sequence[Task] = ()) -> Mix:
        """See Data.compose. Raises NothingToLearn when no pair was ever attempted."""
        passed = self._outcomes()
        pools = {
            "replay": earlier or pairs.tasks,
            "success": [t for t in pairs if passed.get(t.id) is True],
            "hard": [t for t in pairs if passed.get(t.id) is False],
        }
        weights = {"replay": self.replay, "success": self.success, "hard": self.hard}
        attempted = bool(pools["success"] or pools["hard"])
        if not attempted or not any(pools[name] for name, weight in weights.items() if weight):
            raise NothingToLearn(
                f"data=episodes: {self.path} has no {'failed' if attempted else 'attempt at a training'} pair"
                + (f" in run {self.run}" if self.run else "")
                + f" ({len(passed)} tasks were attempted there). Run a job with data=failures first, which "
                "asks the model training pairs, or choose another data option, such as data=mixed"
            )
        return draw(pools, weights, self.examples, seed)

    def reads(self, pairs: TaskSet) -> str:
        """See Data.reads: what the episodes say of `pairs`."""
        passed = self._outcomes()
        return digest_of({t.id: passed[t.id] for t in pairs if t.id in passed})

    def _outcomes(self) -> dict[str, bool]:
        path = Path(self.path).expanduser()
        if not path.exists():
            return {}
        with open_episodes(path, create=False) as store:
            return store.outcomes(self.last, self.run)
