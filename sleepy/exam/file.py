"""A user's own koans."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sleepy.artifacts import TaskSet
from sleepy.exam.read import read_tasks


@dataclass(frozen=True, kw_only=True)
class File:
    """Koans from a JSONL file; docs/reference/koan-format.md describes the format.

    path: the file. A relative path starts where the command was started.
    """

    path: str = ""

    def problems(self) -> list[str]:
        """What the field's own bounds cannot say."""
        if not self.path:
            return ["path is missing. Name a JSONL file: tasks.path=my_koans.jsonl"]
        found = Path(self.path).expanduser().is_file()
        return [] if found else [f"path: there is no file {self.path}"]

    def load(self) -> TaskSet:
        """The tasks. Raises DataError with file and line for whatever is wrong."""
        path = Path(self.path).expanduser()
        return TaskSet(path.stem, "", read_tasks(path))
