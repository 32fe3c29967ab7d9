"""What every repair strategy is: it asks, reads the answer, and decides whether to ask again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from sleepy.artifacts import Attempt, Check, Diagnostic, Prompt, Task

LINES_SHOWN = 6  # a short message names at most so many places and errors


class Strategy(Protocol):
    """An option of the group `repair`."""

    def first(self, task: Task, broken: Check) -> Prompt:
        """The prompt for a task, given what rustc said of its broken program."""
        ...

    def again(self, task: Task, attempts: Sequence[Attempt]) -> Prompt | None:
        """The next prompt after attempts that failed, or None to give up."""
        ...

    def program(self, text: str) -> str:
        """The program in a model's answer."""
        ...

    def answer(self, program: str) -> str:
        """The answer that a model should give for `program`: what training teaches, after the prompt's prefill."""
        ...

    def identity(self) -> dict[str, object]:
        """Everything that may change a prompt: part of the key of a cached evaluation."""
        ...


def short_message(diagnostics: Sequence[Diagnostic], program: str) -> str:
    """rustc's errors with code, places and first help, without the source drawn again around every label: a third of
    the tokens of the rendered text."""
    lines = program.splitlines()
    shown = []
    distinct = list({(d.code, d.message): d for d in reversed(diagnostics)}.values())[::-1]  # rustc repeats some
    for d in distinct[:LINES_SHOWN]:
        shown.append(f"error[{d.code}]: {d.message}" if d.code else f"error: {d.message}")
        for number, label in d.labels[:LINES_SHOWN]:
            source = lines[number - 1].strip() if 0 < number <= len(lines) else ""
            shown.append(f"  line {number}: `{source}`" + (f" <- {label}" if label else ""))
        shown += [f"  help: {d.helps[0]}"] if d.helps else []
    if len(distinct) > LINES_SHOWN:
        shown.append(f"and {len(distinct) - LINES_SHOWN} more errors")
    return "\n".join(shown)


def full_message(diagnostics: Sequence[Diagnostic]) -> str:
    """rustc's own rendering of every error."""
    return "\n".join(d.rendered.rstrip() for d in diagnostics)
