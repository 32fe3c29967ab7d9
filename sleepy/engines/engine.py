"""What every engine is: it opens a model and completes prompts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from sleepy.artifacts import Completion, Prompt, Served

Done = Callable[[int, Completion], object]
"""Gets a prompt's place and its completion, as soon as it is there, in the thread that called `generate`."""


def ignore(place: int, completion: Completion) -> None:
    """A `Done` for who waits for all."""


class Session(Protocol):
    """A loaded model."""

    def generate(self, prompts: Sequence[Prompt], done: Done = ignore) -> list[Completion]:
        """The completions of all prompts, in their order; `done` hears of each, in any order. Raises EngineError when
        the engine cannot answer, which is never a failed koan."""
        ...


class Engine(Protocol):
    """An option of the group `engine`."""

    @property
    def loads(self) -> bool:
        """Whether it answers with the file that it is given, and so with one that was trained a moment ago."""
        ...

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


def picker(prompt: Prompt) -> Callable[[Any, int], int]:
    """(logits, n) -> the answer's n-th token: the likeliest, or at a temperature above 0 drawn from
    softmax(logits / temperature). The n-th token takes the n-th number of the seed's sequence, so a draft that is
    thrown away leaves the answer as it is."""
    import numpy as np

    if not prompt.temperature:
        return lambda logits, n: int(logits.argmax())
    numbers = np.random.default_rng(prompt.seed).random(prompt.max_tokens)

    def draw(logits: Any, n: int) -> int:
        scaled = logits.astype(np.float64) / prompt.temperature
        total = np.exp(scaled - scaled.max()).cumsum()
        return int(total.searchsorted(numbers[n] * total[-1], side="right"))

    return draw
