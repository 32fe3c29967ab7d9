"""What an engine is: it opens a model and completes prompts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict
from importlib.metadata import version
from typing import Any, ClassVar, Protocol

from sleepy.artifacts import Completion, Prompt, Served

Done = Callable[[int, Completion], object]
"""Called with a prompt's index and its completion as soon as it is there, in the thread that called `generate`."""


def ignore(index: int, completion: Completion) -> None:
    """A `Done` for callers who wait for all completions."""


class Session(Protocol):
    """A loaded model."""

    def generate(self, prompts: Sequence[Prompt], done: Done = ignore) -> list[Completion]:
        """The completions of all prompts, in their order; `done` is told of each, in any order.

        Raises EngineError when the engine cannot answer. That is never counted as a koan that the model failed.
        """
        ...


class Engine(Protocol):
    """Base of the options of the group `engine`, which are frozen dataclasses.

    loads: whether it loads the file that it is given, so that it can answer with one trained a moment ago.
    reads_gguf: whether what it loads is a GGUF file, and so may be an exported one.
    hot: whether it puts adapters on the loaded model.
    known_weights: whether it is certain which weights answer; else scores are not kept for a later run.
    packages: the packages whose version may change an answer.
    no_effect: the fields that do not change an answer.
    """

    loads: ClassVar[bool] = True
    reads_gguf: ClassVar[bool] = True
    hot: ClassVar[bool] = True
    known_weights: ClassVar[bool] = True
    packages: ClassVar[tuple[str, ...]] = ()
    no_effect: ClassVar[tuple[str, ...]] = ()

    def open(self, model: Served) -> AbstractContextManager[Session]:
        """Load `model`. Raises EngineError when it cannot be loaded."""
        ...

    def identity(self) -> dict[str, object]:
        """Everything besides model and prompt that may change an answer: part of the key of a cached evaluation."""
        option: Any = self
        fields = {name: value for name, value in asdict(option).items() if name not in self.no_effect}
        versions = {name: version(name) for name in self.packages}
        return {"engine": type(self).__module__.rpartition(".")[2], **versions, **fields}


def up_to_stop(text: str, stop: Sequence[str]) -> tuple[str, bool]:
    """`text` up to the first of the stop strings, and whether there was one."""
    ends = [at for at in (text.find(s) for s in stop) if at >= 0]
    return (text[: min(ends)], True) if ends else (text, False)


def picker(prompt: Prompt) -> Callable[[Any, int], int]:
    """(logits, n) -> the answer's n-th token: the likeliest, or at a temperature above 0 one drawn from
    softmax(logits / temperature). The n-th token uses the n-th number of the seed's sequence, so a rejected draft does
    not change the answer."""
    import numpy as np

    if not prompt.temperature:
        return lambda logits, n: int(logits.argmax())
    numbers = np.random.default_rng(prompt.seed).random(prompt.max_tokens)

    def draw(logits: Any, n: int) -> int:
        scaled = logits.astype(np.float64) / prompt.temperature
        total = np.exp(scaled - scaled.max()).cumsum()
        return int(total.searchsorted(numbers[n] * total[-1], side="right"))

    return draw
