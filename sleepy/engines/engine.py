"""What an engine is: it opens a model and completes prompts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from types import MappingProxyType
from typing import Any, ClassVar, Protocol

from sleepy.artifacts import Completion, Prompt, Served
from sleepy.errors import ConfigError, EngineError
from sleepy.progress import say

Done = Callable[[int, Completion], Sequence[Prompt] | None]
"""Called with a prompt's index and its completion as soon as it is there, in the thread that called `generate`. What it
returns are further questions about the same thing, for the same adapter. An engine that has the first question in
memory asks them next, and tells of them under the same index; others leave them to the next call."""


Known = Mapping[int, Completion]
NONE_KNOWN: Known = MappingProxyType({})


def ignore(index: int, completion: Completion) -> None:
    """A `Done` for callers who wait for all completions."""


def in_depth(index: int, prompt: Prompt, ask: Callable[[Prompt], Completion], done: Done) -> Completion:
    """The answer to `prompt`, after all questions that follow from it are answered, too."""
    first = ask(prompt)
    left = list(done(index, first) or ())
    while left:
        left = [*(done(index, ask(left[0])) or ()), *left[1:]]
    return first


class Session(Protocol):
    """A loaded model."""

    def generate(self, prompts: Sequence[Prompt], done: Done = ignore, known: Known = NONE_KNOWN) -> list[Completion]:
        """The completions of all prompts, in their order; `done` is told of each, in any order.

        `known` are completions that are there already, by index: an interrupted run goes on. Those prompts are not
        asked, but the others are answered as if they had been.
        Raises EngineError when the engine cannot answer. That is never counted as a koan that the model failed.
        """
        ...


class Engine(Protocol):
    """Base of the options of the group `engine`, which are frozen dataclasses.

    loads: whether it loads the file that it is given, so that it can answer with one trained a moment ago.
    reads_gguf: whether what it loads is a GGUF file, and so may be an exported one.
    hot: whether it puts adapters on the loaded model.
    tells_chances: whether it can report departures and the probability of an answer.
    known_weights: whether it is certain which weights answer; else scores are not kept for a later run.
    packages: the packages whose version may change an answer.
    clients: further packages that it needs, which are extras of the same names.
    no_effect: the fields that do not change an answer.
    """

    loads: ClassVar[bool] = True
    reads_gguf: ClassVar[bool] = True
    hot: ClassVar[bool] = True
    tells_chances: ClassVar[bool] = False
    known_weights: ClassVar[bool] = True
    packages: ClassVar[tuple[str, ...]] = ()
    clients: ClassVar[tuple[str, ...]] = ()
    no_effect: ClassVar[tuple[str, ...]] = ()

    def open(self, model: Served) -> AbstractContextManager[Session]:
        """Load `model`. Raises EngineError when it cannot be loaded."""
        ...

    def check_machine(self) -> None:
        """Raises ConfigError, before anything is loaded, for a package or a device that is not there."""
        for package in (*self.packages, *self.clients):
            try:
                version(package)
            except PackageNotFoundError as error:
                name = type(self).__module__.rpartition(".")[2]
                how = f"pip install -e '.[{package}]'" if package in self.clients else "bash setup.sh"
                raise ConfigError(f"engine={name} needs the package {package} ({how})") from error

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


def rooms(
    prompts: Sequence[Prompt], given: Sequence[int], count: Callable[[str], int], context: int | None = None
) -> list[int]:
    """The most tokens that the answer to each prompt may have: its `max_tokens`, or half again as many as `copy_from`
    has and 64 (a repair is rarely longer); and no more than the prompt leaves of the `context` that holds both. `given`
    are the prompts' tokens, `count` counts those of a text.

    Raises EngineError for a prompt that leaves none, and warns of those that leave too few to repeat `copy_from`.
    """
    copied = [count(p.copy_from) if p.copy_from else 0 for p in prompts]
    wanted = [p.max_tokens or 64 + 3 * c // 2 for p, c in zip(prompts, copied, strict=True)]
    if context is None:
        return wanted
    short = [
        (g, min(c, w)) for g, c, w in zip(given, copied, wanted, strict=True) if g >= context or g + min(c, w) > context
    ]
    if short:
        tokens, needed = max(short)
        how = "Raise engine.context, or lower repair.max_prompt where examples and messages make the prompt long"
        if tokens >= context:
            raise EngineError(f"A prompt has {tokens} tokens, but engine.context={context}. {how}")
        say(
            f"{len(short)} of {len(prompts)} answers may be cut, for want of room in engine.context={context}: "
            f"the longest prompt has {tokens} tokens, and the program to repeat {needed}. {how}"
        )
    return [min(w, context - g) for w, g in zip(wanted, given, strict=True)]


def picker(prompt: Prompt, longest: int) -> Callable[[Any, int], int]:
    """(logits, n) -> the answer's n-th token: the likeliest, or at a temperature above 0 one drawn from
    softmax(logits / temperature). The n-th token uses the n-th number of the seed's sequence, so a rejected draft does
    not change the answer. `longest`: tokens of the answer, at most."""
    import numpy as np

    if not prompt.temperature:
        return lambda logits, n: int(logits.argmax())
    numbers = np.random.default_rng(prompt.seed).random(longest)

    def draw(logits: Any, n: int) -> int:
        scaled = logits.astype(np.float64) / prompt.temperature
        total = np.exp(scaled - scaled.max()).cumsum()
        return int(total.searchsorted(numbers[n] * total[-1], side="right"))

    return draw
