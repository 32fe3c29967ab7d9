"""Drawing a mix from named parts. What failed and what passed comes from the baseline's own evaluation."""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar

from sleepy.artifacts import Task, TaskSet
from sleepy.errors import NothingToLearn
from sleepy.pairs.builtin import load_pairs
from sleepy.pairs.material import Chat, Mix, Pairs
from sleepy.results import Scores


class Data(ABC):
    """An option of the group `data`.

    own: whether the pairs are the user's, and not those that come with sleepy.
    """

    own: ClassVar[bool] = False

    def load(self) -> Pairs:
        """All pairs that mixes are drawn from. Raises DataError, with file and line, for what cannot be used."""
        return load_pairs()

    def reads(self, pairs: TaskSet) -> str:
        """A digest of what the mix depends on besides options and pairs."""
        return ""

    def judged_by(self, pairs: Pairs, koans: Sequence[Task]) -> str:
        """What a reader must know where `koans` judge a model that learned from `pairs`; "" for those of sleepy, which
        were audited. Raises DataError for pairs that may not be trained on then."""
        return ""

    @property
    @abstractmethod
    def probe(self) -> int:
        """How many pairs the baseline is asked to learn which it fails; 0 when the mix does not depend on it."""

    @abstractmethod
    def compose(self, pairs: TaskSet, probed: Scores | None, seed: int | str, earlier: Sequence[Task] = ()) -> Mix:
        """The mix, the same for the same arguments. `earlier`: the pairs of a stream's tasks before this one."""


def outcomes(pairs: TaskSet, probed: Scores) -> tuple[list[Task], list[Task]]:
    """The probed pairs that the baseline passes, and those it fails, in the set's order."""
    passed = {r.task: r.passed for r in probed.results}
    return ([t for t in pairs if passed.get(t.id) is True], [t for t in pairs if passed.get(t.id) is False])


def draw(
    pools: Mapping[str, Sequence[Task | Chat]],
    weights: Mapping[str, float],
    total: int,
    seed: int | str,
    fixed: Mapping[str, int] | None = None,
) -> Mix:
    """`total` examples, shared among the parts by weight (largest remainder; a part without any pair leaves its share
    to the others), but for parts whose number is `fixed`. A pool is used up before anything in it is drawn again:
    small pools give copies. Raises NothingToLearn when every part with a weight is empty."""
    given = {name: count for name, count in (fixed or {}).items() if pools[name]}
    shares = {name: weight for name, weight in weights.items() if weight > 0 and pools[name] and name not in given}
    if not shares and not given:
        empty = ", ".join(name for name, weight in weights.items() if weight > 0)
        raise NothingToLearn(
            f"nothing to train on: no pair in {empty}. Raise data.probe, or choose another data option"
        )
    counts = {**given, **_apportion(shares, max(0, total - sum(given.values())))}
    rng = random.Random(seed)
    drawn: list[Task | Chat] = []
    for name in sorted(counts):
        bag: list[Task | Chat] = []
        while len(bag) < counts[name]:
            again = list(pools[name])
            rng.shuffle(again)
            bag += again
        drawn += bag[: counts[name]]
    rng.shuffle(drawn)
    return Mix(tuple(drawn), {name: counts.get(name, 0) for name in weights})


def _apportion(shares: Mapping[str, float], total: int) -> dict[str, int]:
    """Whole numbers that add up to `total`, in proportion to `shares` (largest remainder)."""
    whole = sum(shares.values()) or 1.0
    exact = {name: total * share / whole for name, share in shares.items()}
    counts = {name: int(value) for name, value in exact.items()}
    rest = sorted(exact, key=lambda name: (counts[name] - exact[name], name))
    for name in rest[: total - sum(counts.values())]:
        counts[name] += 1
    return counts
