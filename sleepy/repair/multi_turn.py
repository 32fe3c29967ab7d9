"""RED, patch, GREEN: the model sees what rustc says of its answer, and tries again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sleepy.artifacts import Check, Prompt, Task
from sleepy.options import choice, ranged
from sleepy.repair._pick import normal
from sleepy.repair.asking import Asking
from sleepy.repair.strategy import Try
from sleepy.rust.signature import signature_of


@dataclass(frozen=True, kw_only=True)
class MultiTurn(Asking):
    """Asks until the program compiles, the model repeats itself, or the attempts are used up. The last program counts.

    With `turns` at 0 each question looks like the first one, but about the program as the model left it. That is what
    adapters are trained on, and it stays short. With more turns the model also sees its earlier answers, which an
    engine in this process still has in memory.

    max_attempts: attempts per task (1 to 20).
    turns: how many earlier answers the conversation contains (0 to 19).
    stop: what counts as a repetition: "program" is a program that the model was shown or gave before, "error" also the
        same kind of error twice in a row.
    The other fields are those of Asking.
    """

    max_attempts: int = ranged(3, at_least=1, at_most=20)
    turns: int = ranged(0, at_least=0, at_most=19)
    stop: str = choice("program", "error")

    def prompts(self, task: Task, broken: Check, tries: Sequence[Try]) -> list[Prompt]:
        """See Strategy.prompts."""
        if not tries:
            return [self.first(task, broken)]
        if tries[-1].check.compiles or len(tries) >= self.max_attempts or self._repeats(task, tries):
            return []
        states = [(task.broken, broken), *((t.program, t.check) for t in tries)]
        prompt = self.prompt(task, states[-1 - self.turns :])
        return [prompt] if self.size(prompt.messages) <= self.max_prompt else []

    def _repeats(self, task: Task, tries: Sequence[Try]) -> bool:
        *before, last = [normal(p) for p in (task.broken, *(t.program for t in tries))]
        kinds = [signature_of(t.check) for t in tries[-2:]]
        return last in before or (self.stop == "error" and len(tries) > 1 and kinds[0] == kinds[1])
