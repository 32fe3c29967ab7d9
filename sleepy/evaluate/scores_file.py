"""Scores as JSON files."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sleepy.files import write_text
from sleepy.results import Attempt, Result, Scores


def write_scores(path: Path, scores: Scores) -> None:
    """Scores as JSON; the file appears whole or not at all."""
    write_text(path, json.dumps(asdict(scores), ensure_ascii=False, indent=1))


def read_scores(path: Path) -> Scores:
    """Scores from `write_scores`."""
    record = json.loads(path.read_text(encoding="utf-8"))
    results = tuple(_result(r) for r in record.pop("results"))
    return Scores(results=results, **record)


def _result(r: dict[str, Any]) -> Result:
    attempts = tuple(Attempt(**{**a, "codes": tuple(a["codes"])}) for a in r["attempts"])
    return Result(**{**r, "attempts": attempts, "within": tuple(r["within"])})
