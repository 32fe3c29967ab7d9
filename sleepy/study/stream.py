"""What every stream is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from sleepy.adapters.combine import Combine
from sleepy.artifacts import TaskSet
from sleepy.errors import ConfigError
from sleepy.routing.route import Routing
from sleepy.study.lab import Lab
from sleepy.study.step import Step
from sleepy.track.tracker import Tracker
from sleepy.train.algorithm import Algorithm


@dataclass(frozen=True, kw_only=True)
class Stream(ABC):
    """An option of the group `stream`: the order in which a learner meets what it learns."""

    learns: ClassVar[bool] = True  # whether it trains adapters; else it has them from elsewhere
    by_pattern: ClassVar[bool] = False  # whether it goes by the patterns or families of pairs, which chats have not
    several: ClassVar[bool] = False  # whether its steps give adapters of equal rank, to be combined or routed

    def check(self, algo: Algorithm, merge: Combine, routing: Routing, tracker: Tracker, pairs: TaskSet) -> None:
        """Raises ConfigError, before anything is loaded, for what does not go with the other groups' options, or with
        the pairs that are trained on."""
        if routing.routes:
            raise ConfigError("routing chooses among several adapters: use it with stream=each or stream=given")

    def reads(self, tracker: Tracker) -> list[str]:
        """Digests of what the options name and the result depends on."""
        return []

    def exam(self, tasks: TaskSet, pairs: TaskSet, seed: int) -> TaskSet:
        """The part of the task set that the stream is measured on. Raises DataError when it has none."""
        return tasks

    def check_panel(self, exam: TaskSet, panel: TaskSet) -> None:
        """Raises ConfigError when the stream cannot let the gate decide on `panel`."""
        return

    @abstractmethod
    def run(self, lab: Lab) -> tuple[Step, ...]:
        """Learn everything. A step that finds nothing to learn is passed over."""


def check_several(merge: Combine, routing: Routing, count: int) -> None:
    """Raises ConfigError when there are several adapters and nothing says what they become."""
    if count > 1 and not (routing.routes or merge.combines):
        raise ConfigError(
            "there are several adapters. Combine them (merge=average, linear, cat, svd, ties or dare_ties), or route "
            "between them (routing=error_code, nearest, arrow or oracle)"
        )
