"""What the stage `doubts` looks at: a user's own file, or a koan."""

from __future__ import annotations

import difflib
from pathlib import Path

from sleepy.artifacts import Task
from sleepy.errors import ConfigError
from sleepy.exam.tasks import Tasks
from sleepy.own_code.project import own_file


def subject(place: str, tasks: Tasks, edition: str) -> Task:
    """The Rust file at `place`, or where nothing lies there the koan of `tasks` that has this id.

    Raises ConfigError when it is neither, and DataError for a file that is no UTF-8 and for koans that cannot be read.
    """
    path = Path(place).expanduser()
    if place and path.is_file() and path.suffix == ".rs":
        return own_file(path, edition)
    if not place or path.exists():
        wrong = f"{place} is {'a folder' if path.is_dir() else 'no Rust file'}" if place else "it is empty"
        raise ConfigError(f"file must name one Rust file or the id of a koan, but {wrong}")
    koans = {task.id: task for task in tasks.load()}
    if place not in koans:
        near = difflib.get_close_matches(place, koans, 3, 0.6)
        nearest = f"; nearest: {', '.join(near)}" if near else ""
        raise ConfigError(
            f"file={place} is neither a file nor one of the {len(koans)} koans that tasks= chooses{nearest}. "
            "Name another set if the koan is of that one, such as tasks=koans_val"
        )
    return koans[place]
