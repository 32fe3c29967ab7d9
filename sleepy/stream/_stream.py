"""What every stream is."""

from __future__ import annotations

from typing import Protocol

from sleepy.artifacts import Adapter, Course, TaskSet
from sleepy.stream._learner import Learner


class Stream(Protocol):
    """An option of the group `stream`."""

    def exam(self, tasks: TaskSet, pairs: TaskSet, seed: int) -> TaskSet:
        """The part of the task set that the stream is measured on. Raises DataError when it has none."""
        ...

    def run(self, learner: Learner) -> tuple[Adapter | None, Course | None]:
        """Learn everything. The adapter in the end (None: none was good enough), and how each step came out."""
        ...
