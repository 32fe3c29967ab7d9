"""What every option of the group `tasks` is."""

from __future__ import annotations

from typing import Protocol

from sleepy.artifacts import TaskSet


class Tasks(Protocol):
    """An option of the group `tasks`: the exam."""

    def load(self) -> TaskSet:
        """The koans. Raises DataError, with file and line, for what cannot be used."""
        ...
