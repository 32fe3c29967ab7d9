"""Answers that are drawn at a temperature, to measure how often a model is right: no strategy chooses among them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Self

from sleepy.artifacts import Check, CheckJob, Prompt, Task, digest_of
from sleepy.repair.strategy import Strategy, Try
from sleepy.sandbox.checker import Judge


def drawn(first: Prompt, task: Task, count: int, temperature: float, seed: int = 0) -> list[Prompt]:
    """A question asked `count` times, to be answered at random. Asked one after the other, as they stand here, an
    engine that keeps what it has evaluated evaluates the question once."""
    seeds = [int(digest_of([seed, task.id, i])[:8], 16) for i in range(1, count + 1)]
    return [replace(first, temperature=temperature, seed=seed) for seed in seeds]


@dataclass(frozen=True, kw_only=True)
class Draws:
    """The first question of the strategy `of`, answered `samples` times at `temperature`. The same numbers are drawn
    for every model, which makes their difference less a matter of luck."""

    asks: ClassVar[bool] = True
    needs_chances: ClassVar[bool] = False

    of: Strategy
    samples: int
    temperature: float

    def serving(self, adapters: Sequence[str]) -> Self:
        """See Strategy.serving."""
        return replace(self, of=self.of.serving(adapters))

    def alone(self) -> Self:
        """See Strategy.alone."""
        return replace(self, of=self.of.alone())

    def begin(self, judge: Judge, jobs: Sequence[CheckJob], checks: Sequence[Check]) -> list[tuple[str, Check]]:
        """See Strategy.begin."""
        return self.of.begin(judge, jobs, checks)

    def first(self, task: Task, broken: Check) -> Prompt:
        """See Strategy.first."""
        return self.of.first(task, broken)

    def prompts(self, task: Task, broken: Check, tries: Sequence[Try]) -> list[Prompt]:
        """See Strategy.prompts."""
        return [] if tries else drawn(self.first(task, broken), task, self.samples, self.temperature)

    def choose(self, tries: Sequence[Try]) -> int:
        """See Strategy.choose: none is better than another."""
        return 0

    def program(self, text: str) -> str:
        """See Strategy.program."""
        return self.of.program(text)

    def answer(self, program: str) -> str:
        """See Strategy.answer."""
        return self.of.answer(program)

    def identity(self) -> dict[str, object]:
        """See Strategy.identity."""
        draws = {"samples": self.samples, "temperature": self.temperature}
        return {"repair": "draws", **draws, "of": self.of.identity()}
