"""What every stream is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from sleepy.artifacts import TaskSet
from sleepy.errors import ConfigError
from sleepy.study.learned import Learned
from sleepy.study.learner import Learner
from sleepy.track.tracker import Tracker


@dataclass(frozen=True, kw_only=True)
class Stream(ABC):
    """An option of the group `stream`."""

    learns: ClassVar[bool] = True  # whether it trains adapters; else it has them from elsewhere

    def check(self, chosen: Mapping[str, Any], tracker: Tracker) -> None:
        """Raises ConfigError, before anything is loaded, for what does not go with the other groups' options."""
        if chosen["routing"].routes:
            raise ConfigError("routing: found one that chooses among several adapters, expected stream=each or given")

    def exam(self, tasks: TaskSet, pairs: TaskSet, seed: int) -> TaskSet:
        """The part of the task set that the stream is measured on. Raises DataError when it has none."""
        return tasks

    @abstractmethod
    def run(self, learner: Learner) -> Learned:
        """Learn everything."""


def check_several(chosen: Mapping[str, Any], count: int) -> None:
    """Raises ConfigError when there are several adapters and nothing says what they become."""
    if count > 1 and not (chosen["routing"].routes or chosen["merge"].combines):
        raise ConfigError(
            "merge: found default, which takes one adapter, and routing=none, but there are several: choose how they "
            "become one, merge=average (or linear, cat, svd, ties, dare_ties), or how one is chosen for each program, "
            "routing=error_code (or nearest, arrow, oracle)"
        )
