"""rustc's own suggestions, without a model: what a model has to beat."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

from sleepy.artifacts import Check, CheckJob, Prompt, Task
from sleepy.errors import ConfigError
from sleepy.repair.strategy import Strategy, Try
from sleepy.sandbox.checker import Judge
from sleepy.sandbox.rustfix import rustfixed


@dataclass(frozen=True, kw_only=True)
class Rustfix:
    """The first suggestion of each error, rustc's or Clippy's, in up to four rounds. It asks nothing, so it can be
    measured and can repair, but nothing can be trained for it."""

    asks: ClassVar[bool] = False
    needs_chances: ClassVar[bool] = False

    def serving(self, adapters: Sequence[str]) -> Self:
        """See Strategy.serving."""
        return self

    def alone(self) -> Strategy:
        """See Strategy.alone."""
        return self

    def begin(self, judge: Judge, jobs: Sequence[CheckJob], checks: Sequence[Check]) -> list[tuple[str, Check]]:
        """See Strategy.begin."""
        return rustfixed(judge, jobs, checks)

    def first(self, task: Task, broken: Check) -> Prompt:
        """Raises ConfigError: there is no prompt."""
        raise ConfigError("repair=rustfix asks no model, so none can be trained for it. Use repair=single_shot")

    def prompts(self, task: Task, broken: Check, tries: Sequence[Try]) -> list[Prompt]:
        """See Strategy.prompts: none."""
        return []

    def choose(self, tries: Sequence[Try]) -> int:
        """See Strategy.choose."""
        return len(tries) - 1

    def program(self, text: str) -> str:
        """See Strategy.program."""
        return text

    def answer(self, program: str) -> str:
        """See Strategy.answer."""
        return program

    def identity(self) -> dict[str, object]:
        """See Strategy.identity."""
        return {"repair": "rustfix"}
