"""Repairs found by the model's own doubts and the compiler's word.

A repair is nearly a copy of the broken program, so the model's probabilities along that program say where it nearly
wrote something else. It is asked once as always; then it is made to write the likeliest of those other tokens, each in
turn, and finishes the program from there. The compiler chooses among what comes out (docs/explanation/search.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from typing import ClassVar

from sleepy.artifacts import Check, Prompt, Task
from sleepy.options import choice, ranged
from sleepy.repair._rank import ranked
from sleepy.repair.asking import Asking
from sleepy.repair.strategy import Try
from sleepy.rust.fixes import suggested
from sleepy.rust.signature import signature_of
from sleepy.rust.tokens import normal


@dataclass(frozen=True, kw_only=True)
class Search(Asking):
    """The likeliest answer first, then answers that depart from the broken program where the model nearly did.

    When nothing compiles, or fails a user's own tests, the search goes on from the most promising program so far: one
    with fewer errors than the program that it was made from, with another error, or with its first error further down.

    candidates: answers to a question about one program, rustc's suggestions not counted (1 to 64).
    branches: how many of them may depart at the same place (1 to 16).
    suggestions: whether the programs that rustc suggests are candidates, too.
    rounds: how many further programs are searched from (0 to 20).
    patience: an answer is given up once it is e^patience times less likely than the first one (above 0). Few such
        answers compile, and they are the slowest: nothing in them is a copy.
    budget: tokens that may be generated for one task before the last question is asked; 0 is no bound (0 to 1000000).
    rank: which of the answers that compile counts: the one with the smallest edit ("edit"), the likeliest ("chance"),
        the first one asked for ("order"), or the one that most answers agree on ("vote").
    careful: whether answers come last that look as if they compile because something was taken out.
    The other fields are those of Asking.
    """

    rustfix_first: bool = True
    candidates: int = ranged(8, at_least=1, at_most=64)
    branches: int = ranged(2, at_least=1, at_most=16)
    suggestions: bool = True
    rounds: int = ranged(0, at_least=0, at_most=20)
    patience: float = ranged(8.0, above=0)
    budget: int = ranged(0, at_least=0, at_most=1_000_000)
    rank: str = choice("edit", "chance", "order", "vote")
    careful: bool = True

    needs_chances: ClassVar[bool] = True

    def prompts(self, task: Task, broken: Check, tries: Sequence[Try]) -> list[Prompt]:
        """See Strategy.prompts."""
        if not tries:
            return [self._root(task, task.broken, broken)]
        searched = _searched(task.broken, broken, tries)
        last = searched[-1]
        if tries[-1] is last.root and (asked := self._candidates(last)):
            return asked
        over = len(searched) > self.rounds or (self.budget and sum(t.tokens for t in tries) >= self.budget)
        if over or tries[self.choose(tries)].check.passed:
            return []
        return [self._root(task, t.program, t.check) for t in _promising(searched)[:1]]

    def choose(self, tries: Sequence[Try]) -> int:
        """See Strategy.choose: 0 where nothing compiles."""
        return next(iter(self._order(tries)), 0)

    def _order(self, tries: Sequence[Try]) -> list[int]:
        searched = _searched(_program(tries[0].prompt), tries[0].check, tries)
        chances = {t.number: chance for s in searched for t, chance in s.chances()}
        return ranked(self.rank, tries, [chances[t.number] for t in tries], searched[0].program, self.careful)

    def _root(self, task: Task, program: str, check: Check) -> Prompt:
        """The question about a program, and where the model doubts; with nothing to search for, the question alone."""
        prompt = self.prompt(task, [(program, check)])
        if self.candidates == 1 and not (self.suggestions and any(d.fixes for d in check.diagnostics)):
            return prompt
        return replace(prompt, departures=2 * self.candidates * (self.candidates > 1), scored=True)

    def _candidates(self, searched: _Searched) -> list[Prompt]:
        """The questions that go on elsewhere with the answer to one. The last departure comes first, so that a model
        which has the program in memory begins there, and takes back less and less."""
        root, text = searched.root, searched.program.rstrip("\n")
        asked: list[tuple[int, Prompt]] = []  # how much of an answer's beginning is a copy, and the question
        least = (root.chance or 0.0) - self.patience
        for departure in root.departures:
            begun, place = departure.before + departure.token, len(departure.before)
            taken = [at for at, _ in asked].count(place)
            if not root.text.startswith(begun) and taken < self.branches and len(asked) < self.candidates - 1:
                rest = root.prompt.copy_from[place:]
                asked.append((place, replace(root.prompt, begun=begun, copy_from=rest, departures=0, least=least)))
        if self.suggestions:
            known = {text, root.program.rstrip("\n")}
            for program in suggested(searched.program, searched.check.diagnostics):
                if (whole := program.rstrip("\n")) not in known:
                    known.add(whole)
                    prompt = replace(root.prompt, begun=whole, copy_from=root.prompt.stop[0], departures=0)
                    asked.append((_common(whole, text), prompt))
        return [prompt for _, prompt in sorted(asked, key=lambda entry: -entry[0])]


@dataclass(frozen=True)
class _Searched:
    """A program that was searched from, what the compiler says of it, the log-probability of the answers that led to
    it, and what was answered: to the question about it, then with other beginnings."""

    program: str
    check: Check
    chance: float
    root: Try
    others: tuple[Try, ...]

    def chances(self) -> list[tuple[Try, float]]:
        """The log-probability of each answer, together with those that led to it."""
        return [(t, self.chance + (t.chance or 0.0)) for t in (self.root, *self.others)]


def _searched(broken: str, said: Check, tries: Sequence[Try]) -> list[_Searched]:
    """What was searched from, in order."""
    found: list[_Searched] = []
    made = {normal(broken): (broken, said, 0.0)}
    for place, root in enumerate(tries):
        if root.prompt.begun:
            continue
        others = tuple(takewhile(lambda t: t.prompt.begun, tries[place + 1 :]))
        found.append(_Searched(*made[normal(_program(root.prompt))], root, others))
        for t, chance in found[-1].chances():
            made.setdefault(normal(t.program), (t.program, t.check, chance))
    return found


def _promising(searched: Sequence[_Searched]) -> list[Try]:
    """The tries that do not compile but are better than the program they were made from, the best first; of equals the
    likeliest."""
    seen = {normal(s.program) for s in searched}
    found = {}
    for s in searched:
        for t, chance in s.chances():
            better = not t.check.compiles and t.check.diagnostics and _badness(t.check) < _badness(s.check)
            other = not t.check.compiles and signature_of(t.check) != signature_of(s.check)
            if (better or other) and normal(t.program) not in seen:
                found[normal(t.program)] = (*_badness(t.check), -chance), t
    return [t for _, t in sorted(found.values(), key=lambda entry: entry[0])]


def _common(a: str, b: str) -> int:
    """How many characters two texts begin with alike."""
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


def _badness(check: Check) -> tuple[int, int]:
    """How many errors there are, and how far up the first stands."""
    return len(check.diagnostics), -min((line for d in check.diagnostics for line, _ in d.labels), default=0)


def _program(prompt: Prompt) -> str:
    """The program that a question is about."""
    return prompt.copy_from.removesuffix(prompt.stop[0]) + "\n"
