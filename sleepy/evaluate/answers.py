"""The answers of an evaluation that has not come to its end, on disk as they come: whoever begins it again goes on."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sleepy.artifacts import Completion, Departure, Prompt, digest_of
from sleepy.files import explained

MEASURED = "baselines"  # the cache's folder of measured scores
ANSWERS = ".answers.jsonl"  # the end of a file beside the scores that its evaluation will have


class Answers:
    """Completions by task, number of the attempt and prompt, in a JSONL file that grows by a line an answer.

    Answers are kept and not verdicts: these have a cache of their own, and one that the machine's load may have spoiled
    is determined again. Several processes may append to one file.
    """

    def __init__(self, path: Path) -> None:
        """`path` need not be there. A line that cannot be read, as a killed process leaves it, is passed over."""
        self._path, self._known = path, dict[str, Completion]()
        text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
        self._torn = bool(text) and not text.endswith("\n")
        for line in text.split("\n"):
            try:
                found = json.loads(line)
                self._known[str(found["key"])] = _completion(found["answer"])
            except (ValueError, TypeError, KeyError):
                continue

    def __len__(self) -> int:
        return len(self._known)

    def get(self, task: str, number: int, prompt: Prompt) -> Completion | None:
        """The answer to a task's attempt, if it was asked with the same prompt."""
        return self._known.get(_key(task, number, prompt))

    def add(self, task: str, number: int, prompt: Prompt, answer: Completion) -> None:
        """Keep an answer. Raises DiskError."""
        line = json.dumps({"key": _key(task, number, prompt), "answer": asdict(answer)})
        with explained(self._path):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("a", encoding="utf-8") as out:
                out.write(f"\n{line}\n" if self._torn else f"{line}\n")
        self._torn = False

    def drop(self) -> None:
        """Remove the file: the evaluation has come to its end."""
        self._path.unlink(missing_ok=True)


def _key(task: str, number: int, prompt: Prompt) -> str:
    return digest_of([task, number, prompt.data])


def _completion(found: dict[str, Any]) -> Completion:
    departures = tuple(Departure(**departure) for departure in found.pop("departures", ()))
    return Completion(**found, departures=departures)
