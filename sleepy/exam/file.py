"""A user's own koans."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sleepy.artifacts import TaskSet
from sleepy.exam.read import file_problems, read_set


@dataclass(frozen=True, kw_only=True)
class File:
    """Koans from a JSONL file; docs/reference/koan-format.md describes the format.

    path: the file. A relative path starts where the command was started.
    """

    path: str = ""

    def problems(self) -> list[str]:
        """What the field's own bounds cannot say."""
        return file_problems(self.path, "tasks.path=my_koans.jsonl")

    def load(self) -> TaskSet:
        """The tasks. Raises DataError with file and line for whatever is wrong."""
        return read_set(Path(self.path).expanduser())
