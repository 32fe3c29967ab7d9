"""Episodes as JSON lines: to take away, to look at with other tools, to bring together from several machines."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sleepy.episodes.store import COLUMNS, Episode, EpisodeStore, now, open_episodes
from sleepy.errors import DataError
from sleepy.files import read_jsonl, write_jsonl

VERDICTS = ("compile", "test", "passed")


def export_episodes(store: EpisodeStore, path: Path) -> int:
    """Write every episode, oldest first, one JSON object a line; how many. The file appears whole or not at all."""
    return write_jsonl(path, store.episodes())


def import_episodes(source: Path, path: Path) -> tuple[int, int]:
    """Store the episodes of a JSONL file in `path`: how many were new, how many the file has. Raises DataError for
    lines that are no episodes, and nothing is stored then."""
    rows = read_jsonl(source)
    wrong = [f"{source}:{number}: {problem}" for number, row in rows if (problem := "; ".join(_problems(row)))]
    if wrong:
        raise DataError("\n".join([*wrong, "Nothing was imported"]))
    with open_episodes(path) as store:
        return store.write_all(Episode(**row) for _, row in rows), len(rows)


def _problems(record: dict[str, Any]) -> list[str]:
    """What keeps a JSON object from being an episode."""
    found = [f"{name} is missing" for name in COLUMNS if name not in record]
    found += [f"{name} is unknown" for name in record if name not in COLUMNS]
    for name, value in record.items():
        if COLUMNS.get(name) == "INTEGER":
            good, wanted = type(value) is int and 0 <= value < 2**63, "a whole number, at least 0"
        elif name == "verdict":
            good, wanted = value in VERDICTS, f"one of {', '.join(VERDICTS)}"
        elif name == "time":
            good, wanted = _utc(value), f"UTC, such as {now()}"
        else:
            good, wanted = isinstance(value, str), "a text"
        found += [] if good else [f"{name} must be {wanted}, not {value!r}"]
    return found


def _utc(text: object) -> bool:
    """Whether a time is written as `now` writes it: only then times sort as texts do."""
    try:
        return datetime.fromisoformat(str(text)).astimezone(UTC).isoformat(timespec="microseconds") == text
    except (ValueError, OverflowError):
        return False
