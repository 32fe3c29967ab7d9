"""Episodes as JSON lines: to take away, to look at with other tools, to bring together from several machines."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import MISSING, asdict, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sleepy.episodes.store import Episode, EpisodeStore, now, open_episodes
from sleepy.errors import DataError

VERDICTS = ("compile", "test", "passed")
_TYPES = {"str": str, "int": int}  # of Episode's fields, as they are annotated


def export_episodes(store: EpisodeStore, path: Path) -> int:
    """Write every episode, oldest first, one JSON object a line; how many. The file appears whole or not at all."""
    partial, count = path.with_name(path.name + ".part"), 0
    with partial.open("w", encoding="utf-8", newline="\n") as out:
        for episode in store.episodes():
            out.write(json.dumps(asdict(episode), ensure_ascii=False) + "\n")
            count += 1
    partial.replace(path)
    return count


def import_episodes(source: Path, path: Path) -> tuple[int, int]:
    """Store the episodes of a JSONL file in `path`: how many were new, how many the file has. All of them are read
    before the first is stored. Raises DataError for a line that is no episode, and nothing is stored then."""
    episodes = list(_read(source))
    with open_episodes(path) as store:
        return store.write_all(episodes), len(episodes)


def _read(path: Path) -> Iterator[Episode]:
    for number, line in enumerate(path.read_bytes().split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line.decode())
            json.dumps(record, ensure_ascii=False).encode()  # half a surrogate pair can be read but not stored
            problem = _problem(record)
        except (ValueError, RecursionError) as error:  # no JSON, no UTF-8
            problem = str(error)
        if problem:
            raise DataError(f"{path}, line {number}: {problem}. Nothing was imported")
        yield Episode(**record)


def _problem(record: Any) -> str:
    """What keeps a JSON value from being an episode, or ""."""
    if not isinstance(record, dict):
        return "found no JSON object"
    types = {f.name: _TYPES[str(f.type)] for f in fields(Episode)}
    problems = [f"{f.name} is missing" for f in fields(Episode) if f.name not in record and f.default is MISSING]
    for name, value in record.items():
        if name not in types:
            problems.append(f"{name} is unknown")
        elif types[name] is int and not (type(value) is int and 0 <= value < 2**63):
            problems.append(f"{name}: found {value!r}, expected a whole number from 0")
        elif types[name] is str and not isinstance(value, str):
            problems.append(f"{name}: found {value!r}, expected a text")
        elif name == "verdict" and value not in VERDICTS:
            problems.append(f"verdict: found {value!r}, expected one of {', '.join(VERDICTS)}")
        elif name == "time" and not _utc(value):
            problems.append(f"time: found {value!r}, expected UTC as in {now()}")
    return "; ".join(problems)


def _utc(text: str) -> bool:
    """Whether a time is written as `now` writes it: only then times sort as texts do."""
    try:
        return datetime.fromisoformat(text).astimezone(UTC).isoformat(timespec="microseconds") == text
    except (ValueError, OverflowError):
        return False
