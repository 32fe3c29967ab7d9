"""What every repair strategy is: it asks, sees what the compiler says of the answers, and chooses one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

from sleepy.artifacts import Check, CheckJob, Departure, Prompt, Task
from sleepy.sandbox.checker import Judge


@dataclass(frozen=True)
class Try:
    """An attempt as a strategy may see it: its number from 0, what was asked, the answer, the program in it, how many
    tokens were generated, and the answer's departures and log-probability where the prompt asks for them. `judged`
    waits for the compiler."""

    number: int
    prompt: Prompt
    text: str
    program: str
    judged: Callable[[], Check]
    tokens: int = 0
    departures: tuple[Departure, ...] = ()
    chance: float | None = None

    @property
    def check(self) -> Check:
        """Whether the program compiles: `stage` is "compile" or "passed". The verdict of hidden tests stays hidden;
        where a user's own tests are asked, those say "test" for a program that compiles and fails them.
        A strategy that does not look at it lets the model go on while the compiler works."""
        return self.judged()


class Strategy(Protocol):
    """An option of the group `repair`.

    asks: whether it asks a model; else what it begins with is its answer.
    needs_chances: whether it needs an engine that tells departures and probabilities.
    """

    asks: ClassVar[bool] = True
    needs_chances: ClassVar[bool] = False

    def serving(self, adapters: Sequence[str]) -> Strategy:
        """The strategy for a model that is served with adapters of these names. Raises ConfigError when it cannot do
        with them."""
        ...

    def alone(self) -> Strategy:
        """What asks the base model, which has no adapters: its row beside this strategy's."""
        ...

    def begin(self, judge: Judge, jobs: Sequence[CheckJob], checks: Sequence[Check]) -> list[tuple[str, Check]]:
        """The programs that the first questions are about, and what the compiler says of them. `jobs` are the broken
        ones, without tests, `checks` what it says of those. One that was changed and compiles is the answer: no model
        is asked about it."""
        ...

    def first(self, task: Task, broken: Check) -> Prompt:
        """The prompt for a task, given what rustc says of its broken program; what training teaches to answer."""
        ...

    def prompts(self, task: Task, broken: Check, tries: Sequence[Try]) -> list[Prompt]:
        """What to ask after `tries`, which are all answered: none ends it, several are asked at once."""
        ...

    def choose(self, tries: Sequence[Try]) -> int:
        """The place of the try that counts, of one or more."""
        ...

    def program(self, text: str) -> str:
        """The program in a model's answer."""
        ...

    def answer(self, program: str) -> str:
        """The answer that a model should give for `program`: what training teaches, after the prompt's prefill."""
        ...

    def identity(self) -> dict[str, object]:
        """Everything that may change a prompt or a choice: part of the key of a cached evaluation."""
        ...
