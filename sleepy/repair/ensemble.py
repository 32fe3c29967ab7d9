"""Several adapters answer one question; the compiler or the majority chooses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Self

from sleepy.artifacts import Check, Prompt, Task
from sleepy.errors import ConfigError
from sleepy.options import choice
from sleepy.repair._pick import pick
from sleepy.repair.asking import Asking
from sleepy.repair.single_shot import SingleShot
from sleepy.repair.strategy import Strategy, Try


@dataclass(frozen=True, kw_only=True)
class Ensemble(Asking):
    """Each adapter gives its most likely answer.

    adapters: names of the adapters that answer, in this order. Empty takes all.
    pick: "first" takes the first program that compiles, "vote" the most common one among those that compile.
    The other fields are those of Asking.
    """

    adapters: list[str] = field(default_factory=list)
    pick: str = choice("first", "vote")

    def serving(self, adapters: Sequence[str]) -> Self:
        """See Strategy.serving."""
        missing = [name for name in self.adapters if name not in adapters]
        if missing or not adapters:
            raise ConfigError(
                f"repair.adapters: the model has no adapter {', '.join(missing) or 'at all'}; it is served with "
                f"{', '.join(adapters) or 'none'}. An ensemble needs adapters that are not merged: use stream=each or "
                "stream=given with a routing. For a model without adapters use repair=best_of_n"
            )
        return replace(self, adapters=self.adapters or list(adapters))

    def alone(self) -> Strategy:
        """See Strategy.alone: asked once."""
        return SingleShot(**{f.name: getattr(self, f.name) for f in fields(Asking)})

    def prompts(self, task: Task, broken: Check, tries: Sequence[Try]) -> list[Prompt]:
        """See Strategy.prompts."""
        first = self.first(task, broken)
        return [] if tries else [replace(first, adapter=name) for name in self.adapters]

    def choose(self, tries: Sequence[Try]) -> int:
        """See Strategy.choose."""
        return pick(self.pick, tries)
