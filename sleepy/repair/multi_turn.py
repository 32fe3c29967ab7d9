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
    """Asks until the program compiles, the model repeats itself or the attempts are used up; the last program counts.

    With `turns` 0 each question looks like the first one, about the program as the model left it: that is what
    adapters are trained on, and it stays short. A conversation saves no time: the other tasks' questions come between
    two turns, and llama.cpp has to read it anew. With more turns the model also sees where it came from.

    max_attempts: attempts at a task (1 to 20).
    turns: how many of its earlier answers stand in the conversation (0 to 19).
    stop: what counts as repeating itself: "program" (one that it was shown or gave before), or "error" (also the same
        kind of error twice in a row).
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
