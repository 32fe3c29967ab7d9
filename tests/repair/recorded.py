"""A session that gives recorded texts in order: data for the loop around a model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from sleepy.artifacts import Completion, HotAdapter, Prompt, Served, Task, TaskSet
from sleepy.engines.engine import NONE_KNOWN, Done, Known, ignore, in_depth
from sleepy.errors import EngineError
from sleepy.evaluate.harness import Examination
from sleepy.repair.strategy import Strategy
from sleepy.results import Result
from sleepy.sandbox.checker import Judge


@dataclass
class Recorded:
    """An engine with an answer for each prompt, in the order in which they are asked; it dies when they are used up."""

    texts: list[str | Completion]
    known_weights: bool = True
    asked: list[Prompt] = field(default_factory=list)

    @contextmanager
    def open(self, model: Served) -> Iterator[Recorded]:
        yield self

    def identity(self) -> dict[str, object]:
        return {"engine": "recorded"}

    def generate(self, prompts: Sequence[Prompt], done: Done = ignore, known: Known = NONE_KNOWN) -> list[Completion]:
        found = dict(known)
        for place, prompt in enumerate(prompts):
            if place in known:
                continue

            def answer(prompt: Prompt) -> Completion:
                if not self.texts:
                    raise EngineError("no more answers")
                self.asked.append(prompt)
                text = self.texts.pop(0)
                return Completion(text, 100, 10, 0.5) if isinstance(text, str) else text

            found[place] = in_depth(place, prompt, answer, done)
        return [found[place] for place in range(len(prompts))]


def served(*adapters: str) -> Served:
    return Served("m", Path(), Path(), "d", tuple(HotAdapter(name, Path(), Path()) for name in adapters))


def repaired(
    task: Task, judge: Judge, repair: Strategy, *texts: str | Completion, adapters: Sequence[str] = ()
) -> tuple[Result, list[Prompt]]:
    """What comes of a task when the model answers with `texts`, and what it was asked."""
    engine = Recorded(list(texts))
    asks = Examination(engine, repair.serving(list(adapters)), judge)
    scores = asks.run(served(*adapters), TaskSet("t", "1", (task,)))
    return scores.results[0], engine.asked
