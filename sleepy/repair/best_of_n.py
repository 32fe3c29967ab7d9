"""Several answers to one question; the compiler or the majority chooses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sleepy.artifacts import Check, Prompt, Task
from sleepy.options import choice, ranged
from sleepy.repair._pick import pick
from sleepy.repair.asking import Asking
from sleepy.repair.draws import drawn
from sleepy.repair.strategy import Try


@dataclass(frozen=True, kw_only=True)
class BestOfN(Asking):
    """The first answer is the most likely one, the others are drawn. All are asked for at once: the question, which is
    most of the work, is evaluated once.

    n: answers per question (2 to 64).
    temperature: the sampling temperature. Higher is more varied (above 0, at most 2).
    pick: "first" takes the first program that compiles, "vote" the most common one among those that compile.
    seed: decides what is drawn (at least 0).
    The other fields are those of Asking.
    """

    n: int = ranged(5, at_least=2, at_most=64)
    temperature: float = ranged(0.8, above=0, at_most=2)
    pick: str = choice("first", "vote")
    seed: int = ranged(0, at_least=0)

    def prompts(self, task: Task, broken: Check, tries: Sequence[Try]) -> list[Prompt]:
        """See Strategy.prompts."""
        if tries:
            return []
        first = self.first(task, broken)
        return [first, *drawn(first, task, self.n - 1, self.temperature, self.seed)]

    def choose(self, tries: Sequence[Try]) -> int:
        """See Strategy.choose."""
        return pick(self.pick, tries)
