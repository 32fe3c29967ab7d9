"""What every engine is: it opens a model and completes prompts greedily."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from sleepy.artifacts import Completion, Prompt, Served


class Session(Protocol):
    """A loaded model."""

    def generate(self, prompts: Sequence[Prompt], done: Callable[[], object] = ...) -> list[Completion]:
        """Complete every prompt, greedily, in order; `done` is called after each. Raises EngineError when the engine
        cannot answer, which is never a failed koan."""
        ...


class Engine(Protocol):
    """An option of the group `engine`."""

    def open(self, model: Served) -> AbstractContextManager[Session]:
        """Load `model`. Raises EngineError when it cannot be loaded."""
        ...

    def identity(self) -> dict[str, object]:
        """Everything besides model and prompt that may change an answer: part of the key of a cached evaluation."""
        ...


def cut(text: str, stop: Sequence[str]) -> tuple[str, bool]:
    """`text` up to the first of the stop strings, and whether there was one."""
    ends = [at for at in (text.find(s) for s in stop) if at >= 0]
    return (text[: min(ends)], True) if ends else (text, False)
