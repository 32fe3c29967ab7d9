"""Tasks from JSONL. A line that cannot be used is named by its number, with what is wrong."""

from __future__ import annotations

from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

from sleepy.artifacts import Task, TaskSet
from sleepy.errors import DataError, several
from sleepy.files import read_jsonl

EDITIONS = ("2018", "2021", "2024")
LEVELS = range(1, 8)  # 1 to 3, and the rungs of the ladder
_FIELDS = {f.name: f for f in fields(Task)}
_REQUIRED = [name for name, f in _FIELDS.items() if f.default is MISSING]


def read_tasks(path: Path, *, needs_tests: bool = True) -> tuple[Task, ...]:
    """Every task of a JSONL file, in order: see read_set."""
    return read_set(path, needs_tests=needs_tests).tasks


def file_problems(path: str, example: str) -> list[str]:
    """What is wrong with an option's `path` of a JSONL file before it is opened; `example` is how it is set."""
    if not path:
        return [f"path is missing. Name a JSONL file: {example}"]
    found = Path(path).expanduser()
    if found.is_dir():
        return [f"path: {path} is a folder. Name a JSONL file: {example}"]
    return [] if found.is_file() else [f"path: there is no file {path}"]


def read_set(path: Path, *, needs_tests: bool = True) -> TaskSet:
    """Every task of a JSONL file, in order, with the places of all, under the file's name. Raises DataError that names
    the file and each line that is wrong.

    `needs_tests`: a task without tests is refused. A koan must have some, else any program that compiles passes; the
    fix of a training pair may be judged by the compiler alone.
    """
    found: list[Task] = []
    problems: list[str] = []
    first: dict[str, int] = {}  # the line of each id
    for number, record in read_jsonl(path):
        try:
            task = _task(record, needs_tests)
        except ValueError as error:
            problems.append(f"{path}:{number}: {error}")
            continue
        if task.id in first:
            problems.append(f"{path}:{number}: id {task.id!r} stands on line {first[task.id]} already")
        first.setdefault(task.id, number)
        found.append(task)
    if problems:
        raise DataError(several(problems))
    if not found:
        raise DataError(f"{path} has no tasks. It must have one JSON object per line")
    places = {name: f"{path}:{number}" for name, number in first.items()}
    return TaskSet(path.stem, "", tuple(found), places)


def _task(record: dict[str, Any], needs_tests: bool) -> Task:
    missing = [name for name in _REQUIRED if name not in record]
    unknown = [name for name in record if name not in _FIELDS]
    if missing or unknown:
        parts = [f"missing {', '.join(missing)}"] if missing else []
        parts += [f"unknown {', '.join(unknown)}"] if unknown else []
        raise ValueError(f"{'; '.join(parts)}. The fields are {', '.join(_FIELDS)}")
    for name, value in record.items():
        good = (
            type(value) is int and value in LEVELS
            if name == "level"
            else isinstance(value, list)
            and all(isinstance(v, str) and v.strip() for v in value)
            and bool(value or not needs_tests)
            if name == "tests"
            else value in EDITIONS
            if name == "edition"
            else isinstance(value, str) and bool(value.strip() or _FIELDS[name].default is not MISSING)
        )
        if not good:
            wanted = {
                "level": f"a whole number from {LEVELS[0]} to {LEVELS[-1]}",
                "tests": "a list of Rust statements" + ", at least one" * needs_tests,
                "edition": f"one of {', '.join(EDITIONS)}",
            }.get(name, "a text")
            raise ValueError(f"{name} must be {wanted}, not {value!r}")
    return Task(**{**record, "tests": tuple(record["tests"])})
