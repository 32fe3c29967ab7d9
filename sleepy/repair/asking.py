"""What all strategies share: how a prompt is put together."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import ClassVar, Self

from sleepy.artifacts import Check, CheckJob, Diagnostic, Prompt, Task
from sleepy.errors import ConfigError
from sleepy.options import choice, ranged
from sleepy.repair._hints import advice, as_data, hints
from sleepy.repair._shots import nearest, pairs
from sleepy.repair.strategy import Strategy, Try
from sleepy.rust.drawn import drawn_errors
from sleepy.rust.length import at_most_tokens
from sleepy.rust.messages import full_message, short_message
from sleepy.sandbox.checker import Judge
from sleepy.sandbox.rustfix import rustfixed

_FENCE = "```"
_A_MESSAGE = 8  # tokens of the chat template around a message, at most


@dataclass(frozen=True, kw_only=True)
class Asking:
    """The fields that every strategy has, and the prompt that they make.

    system: the system message.
    ask: the last line of the user's message.
    diagnostics: which message of rustc the model sees: "short" (codes, places, labels, first help), "no_help" (short
        without the help, which often shows the repaired line) or "full" (as rustc prints it).
    hints: add advice on the errors, by code and message.
    hints_file: a YAML or JSON file with your own advice, which is tried before sleepy's: a list of entries with code,
        advice and perhaps message, a regular expression. "" is none.
    rustfix_first: apply rustc's own suggestions before the model is asked: it sees what is left.
    shots: how many training pairs, those with the most similar error, come before the question as worked examples (0 to
        16).
    max_prompt: tokens that a prompt may have, by an upper estimate (256 to 131072). What is too long loses
        examples first, then older answers, then the end of rustc's message.
    """

    asks: ClassVar[bool] = True
    needs_chances: ClassVar[bool] = False

    system: str = "You repair Rust programs. Answer with the whole repaired program in one code block and nothing else."
    ask: str = "Repair the program. Change as little as possible and keep what it does."
    diagnostics: str = choice("short", "no_help", "full")
    hints: bool = False
    hints_file: str = ""
    rustfix_first: bool = False
    shots: int = ranged(0, at_least=0, at_most=16)
    max_prompt: int = ranged(3000, at_least=256, at_most=131072)

    def problems(self) -> list[str]:
        """What the fields' own bounds cannot say."""
        if self.hints_file and not self.hints:
            return ["hints_file is not read. Add repair.hints=true, or use repair=hints"]
        try:
            hints(self.hints_file)
        except ConfigError as error:
            return [f"hints_file: {error}"]
        return []

    def serving(self, adapters: Sequence[str]) -> Self:
        """See Strategy.serving: any will do."""
        return self

    def alone(self) -> Strategy:
        """See Strategy.alone: the same."""
        return self

    def begin(self, judge: Judge, jobs: Sequence[CheckJob], checks: Sequence[Check]) -> list[tuple[str, Check]]:
        """See Strategy.begin."""
        if self.rustfix_first:
            return rustfixed(judge, jobs, checks)
        return [(job.program, check) for job, check in zip(jobs, checks, strict=True)]

    def first(self, task: Task, broken: Check) -> Prompt:
        """See Strategy.first."""
        return self.prompt(task, [(task.broken, broken)])

    def prompts(self, task: Task, broken: Check, tries: Sequence[Try]) -> list[Prompt]:
        """See Strategy.prompts: one question."""
        return [] if tries else [self.first(task, broken)]

    def choose(self, tries: Sequence[Try]) -> int:
        """See Strategy.choose: the last."""
        return len(tries) - 1

    def program(self, text: str) -> str:
        """See Strategy.program."""
        return text.rstrip("\n") + "\n"

    def answer(self, program: str) -> str:
        """See Strategy.answer."""
        return program.rstrip("\n") + f"\n{_FENCE}"

    def identity(self) -> dict[str, object]:
        """See Strategy.identity."""
        return {
            "repair": type(self).__module__.rpartition(".")[2],
            **asdict(self),
            "advice": as_data(self.hints_file) if self.hints else [],
            "pairs": pairs().digest if self.shots else "",
        }

    def prompt(self, task: Task, states: Sequence[tuple[str, Check]]) -> Prompt:
        """The prompt that shows programs and what rustc says of them: the first is to be repaired, the others are
        answers that the model gave since. It stays within `max_prompt` unless the program alone does not."""
        shots = nearest(task, states[0][1], self.shots) if self.shots else []
        program, check = states[-1]
        said = self._said(check, program)

        def too_long(said: str) -> bool:
            return self.size(self._messages(task, shots, states, said)) > self.max_prompt

        while (shots or len(states) > 1) and too_long(said):
            if shots:
                shots = shots[:-1]
            else:
                states = states[1:]
        if too_long(said):
            cut = said[: bisect_left(range(1, len(said)), True, key=lambda length: too_long(said[:length]))]
            said = cut.rpartition("\n")[0] or cut
        end = f"\n{_FENCE}"
        return Prompt(self._messages(task, shots, states, said), f"{_FENCE}rust\n", (end,), program.rstrip("\n") + end)

    def size(self, messages: Sequence[dict[str, str]]) -> int:
        """How many tokens messages have at most, about."""
        return sum(_A_MESSAGE + at_most_tokens(m["content"]) for m in messages)

    def _messages(
        self, task: Task, shots: Sequence[Task], states: Sequence[tuple[str, Check]], said: str
    ) -> tuple[dict[str, str], ...]:
        talk = [_says("system", self.system)]
        for shot in reversed(shots):  # the most alike stands next to the question
            message = shot.message if self.diagnostics == "full" else self._short(drawn_errors(shot), shot.broken)
            talk.append(_says("user", _shows(shot, shot.broken) + self._error(shot, message)))
            talk.append(_says("assistant", _block(shot.fix)))
        for place, (program, check) in enumerate(states):
            last = place == len(states) - 1
            message = said if last else self._said(check, program)
            if place:
                talk.append(_says("assistant", _block(program)))
            given = self._error(task, message, advice(check.diagnostics, self.hints_file) if self.hints else [])
            talk.append(_says("user", given if place else _shows(task, program) + given))
        return tuple(talk)

    def _said(self, check: Check, program: str) -> str:
        """What rustc says, as the model is shown it."""
        errors = check.diagnostics
        return (full_message(errors) if self.diagnostics == "full" else self._short(errors, program)) or check.detail

    def _short(self, errors: Sequence[Diagnostic], program: str) -> str:
        return short_message(errors, program, help=self.diagnostics != "no_help")

    def _error(self, task: Task, message: str, advised: Sequence[str] = ()) -> str:
        shown = "".join(f"- {text}\n" for text in advised)
        return f"rustc --edition {task.edition}:\n{message}\n\n" + (f"Advice:\n{shown}\n" if shown else "") + self.ask


def _says(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def _block(program: str) -> str:
    return f"{_FENCE}rust\n" + program.rstrip("\n") + f"\n{_FENCE}"


def _shows(task: Task, program: str) -> str:
    return f"{_block(program)}\n{task.description}\n\n"
