"""A user's own broken Rust: a file, or a cargo project file by file. Nothing is touched but by `Change.write`."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from sleepy.artifacts import Diagnostic, Task
from sleepy.episodes.record import diff
from sleepy.errors import DataError
from sleepy.progress import say
from sleepy.sandbox.cargo import CargoChecker, CargoProject, copied
from sleepy.sandbox.checker import Checker, Judge

Solve = Callable[[Task, Judge], str | None]
"""Takes a broken program and what judges a repair; gives one that compiles, or None."""


@dataclass(frozen=True)
class Change:
    """A repair of a user's file: its path, its name as shown, its text before and after (lines end with "\\n")."""

    path: Path
    name: str
    before: str
    after: str

    def diff(self) -> str:
        """The change as `git apply` and `patch -p1` take it."""
        return diff(self.before, self.after, self.name)

    def write(self) -> None:
        """Put the repair in the file's place, with its permissions and its ends of lines. Raises DataError when the
        file is not any more what was repaired."""
        raw = self.path.read_bytes()
        if _text(self.path) != self.before:
            raise DataError(f"{self.path} was changed meanwhile and is left as it is. Repair it again")
        text = self.after.replace("\n", "\r\n") if b"\r\n" in raw else self.after
        partial = self.path.with_name(f".{self.path.name}.part")
        partial.write_bytes(text.encode())
        shutil.copymode(self.path, partial)
        os.replace(partial, self.path)


def mend(place: Path, checker: Checker, solve: Solve, edition: str, tests: bool = False) -> list[Change]:
    """The repairs of what does not compile in `place`. Those of a project stand on each other; with `tests` its own
    tests have a say.

    Raises DataError for a file that is no UTF-8, and for a project that cargo cannot check.
    """
    if place.is_dir():
        with copied(checker.sandbox, place) as project:
            return list(_project(place, project, solve, tests))
    task = own_file(place, edition)
    if checker.check(task.broken, (), edition).passed:
        say(f"{place.name} compiles: there is nothing to repair")
        return []
    program = solve(task, checker)
    return [Change(place, place.name, task.broken, program)] if program else []


def own_file(path: Path, edition: str) -> Task:
    """A single file as a task. Raises DataError when it is no UTF-8."""
    return _task(path.name, _text(path), edition)


def _project(place: Path, project: CargoProject, solve: Solve, tests: bool) -> Iterator[Change]:
    """File after file, until cargo is content or every file that it names was tried."""
    tried: set[str] = set()
    while True:
        errors = project.errors()
        name = next((name for name in errors if name not in tried), "")
        if not name:
            break
        tried.add(name)
        say(f"{name}: {_count(errors[name])}")
        copy, broken = project.root / name, _text(place / name)
        copy.write_text(broken, encoding="utf-8")
        judge = CargoChecker(project, name, errors, tests)
        program = solve(_task(name, broken, project.edition(name)), judge)
        if program:
            copy.write_text(program, encoding="utf-8")
            yield Change(place / name, name, broken, program)
    if not tried:
        say(f"{place.name} compiles: there is nothing to repair")


def _task(name: str, broken: str, edition: str) -> Task:
    return Task(
        id=name,
        family="own",
        pattern="own",
        level=1,
        code="",
        edition=edition,
        description=f"The file {name}.",
        broken=broken,
        fix="",
        tests=(),
    )


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8: {error}") from error


def _count(errors: tuple[Diagnostic, ...]) -> str:
    return f"{len(errors)} error{'' if len(errors) == 1 else 's'}, the first: {errors[0].message}"
