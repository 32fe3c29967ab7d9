"""One question, one answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from sleepy.artifacts import Attempt, Check, Prompt, Task
from sleepy.repair._strategy import full_message, short_message
from sleepy.schema import choice

_FENCE = "```"


@dataclass(frozen=True, kw_only=True)
class SingleShot:
    """The model sees the program, what it is for and rustc's message once.

    system: the system message.
    ask: the last line of the user's message.
    diagnostics: rustc's message, "short" (codes, places, labels, first help) or "full" (as rustc prints it).
    """

    system: str = "You repair Rust programs. Answer with the whole repaired program in one code block and nothing else."
    ask: str = "Repair the program. Change as little as possible and keep what it does."
    diagnostics: str = choice("short", "full")

    def first(self, task: Task, broken: Check) -> Prompt:
        """See Strategy.first."""
        said = (
            short_message(broken.diagnostics, task.broken)
            if self.diagnostics == "short"
            else full_message(broken.diagnostics)
        ) or broken.detail
        program = task.broken.rstrip("\n")
        user = (
            f"{_FENCE}rust\n{program}\n{_FENCE}\n{task.description}\n\n"
            f"rustc --edition {task.edition}:\n{said}\n\n{self.ask}"
        )
        # Rust has about three characters a token; a repair is rarely half again as long as the broken program.
        return Prompt(
            ({"role": "system", "content": self.system}, {"role": "user", "content": user}),
            f"{_FENCE}rust\n",
            (f"\n{_FENCE}",),
            program,
            64 + len(program) // 2,
        )

    def again(self, task: Task, attempts: Sequence[Attempt]) -> Prompt | None:
        """See Strategy.again: never."""
        return None

    def program(self, text: str) -> str:
        """See Strategy.program."""
        return text.rstrip("\n") + "\n"

    def answer(self, program: str) -> str:
        """See Strategy.answer."""
        return program.rstrip("\n") + f"\n{_FENCE}"

    def identity(self) -> dict[str, object]:
        """See Strategy.identity."""
        return {"repair": "single_shot", **asdict(self)}
