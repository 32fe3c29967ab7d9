"""Tasks from JSONL. A line that cannot be used is named: its number, what was found, what was expected."""

from __future__ import annotations

from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

from sleepy.artifacts import Task
from sleepy.errors import DataError
from sleepy.files import read_jsonl

EDITIONS = ("2018", "2021", "2024")
LEVELS = range(1, 8)  # 1 to 3, and the rungs of the ladder
_FIELDS = {f.name: f for f in fields(Task)}
_REQUIRED = [name for name, f in _FIELDS.items() if f.default is MISSING]


def read_tasks(path: Path, *, needs_tests: bool = True) -> tuple[Task, ...]:
    """Every task of a JSONL file, in order. Raises DataError that names the file and each line that is wrong.

    `needs_tests`: a task without tests is refused. A koan must have some, else any program that compiles passes; the
    fix of a training pair may be judged by the compiler alone.
    """
    found: list[Task] = []
    problems: list[str] = []
    first: dict[str, int] = {}
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
        raise DataError("\n".join(problems))
    if not found:
        raise DataError(f"{path}: found no task, expected one JSON object a line")
    return tuple(found)


def _task(record: dict[str, Any], needs_tests: bool) -> Task:
    missing = [name for name in _REQUIRED if name not in record]
    unknown = [name for name in record if name not in _FIELDS]
    if missing or unknown:
        parts = [f"missing {', '.join(missing)}"] if missing else []
        parts += [f"unknown {', '.join(unknown)}"] if unknown else []
        raise ValueError(f"{'; '.join(parts)}; expected the fields {', '.join(_FIELDS)}")
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
            raise ValueError(f"{name}: found {value!r}, expected {wanted}")
    return Task(**{**record, "tests": tuple(record["tests"])})
