"""Where a candidate doubts while it repeats a broken program, and what came of asking it for a repair."""

from __future__ import annotations

from dataclasses import dataclass, replace

from sleepy.artifacts import Check, Departure, Task
from sleepy.evaluate.candidates import Candidate
from sleepy.evaluate.examiner import Examiner
from sleepy.repair.search import Search
from sleepy.repair.strategy import Strategy
from sleepy.results import Result
from sleepy.rust.length import at_most_tokens
from sleepy.rust.suspicion import suspicious
from sleepy.sandbox.checker import Judge

_PER_TOKEN = 8  # departures that are asked for: where the model is in doubt it tells more of them, elsewhere fewer
_RULES = {
    "chance": "the likeliest",
    "order": "the first that was asked for",
    "edit": "the smallest edit",
    "vote": "the one that most answers agree on",
}


@dataclass(frozen=True)
class Doubts:
    """A task as `model` was asked about it: the broken program it was shown and what the compiler `said` of that, where
    it nearly left that program, the answers, and in words how one of them was chosen."""

    model: str
    task: Task
    program: str
    said: Check
    departures: tuple[Departure, ...]
    result: Result
    tried: str


def doubts(examiner: Examiner, candidate: Candidate, task: Task, result: Result, judge: Judge) -> Doubts:
    """The doubts of a candidate about a task that it was measured on, with this `result`. The model is asked once more,
    for a single token: what counts is where it would leave the broken program.

    EngineError and SandboxError go through.
    """
    repair = examiner.repair
    ((program, said),) = repair.begin(judge, [task.broken_job], judge.check_all([task.broken_job]))
    departures: tuple[Departure, ...] = ()
    if not said.compiles:  # else the compiler's own suggestions were enough, and no model was asked
        prompt = repair.first(replace(task, broken=program), said)
        many = _PER_TOKEN * at_most_tokens(program)
        (answer,) = examiner.ask(candidate, [replace(prompt, max_tokens=1, departures=many)])
        departures = answer.departures
    return Doubts(_name(candidate), task, program, said, departures, result, tried(repair, task, result))


def tried(repair: Strategy, task: Task, result: Result) -> str:
    """What was tried, and how the answer was chosen that counts: "11 answers tried, 3 compile; the likeliest of them
    counts"."""
    attempts = result.attempts
    good = [a.program for a in attempts if a.stage != "compile"]
    said = f"{_count(len(attempts), 'answer')} tried, {len(good) or 'none'} compile{'' if len(good) > 1 else 's'}"
    if not task.tests and any(a.stage == "test" for a in attempts):  # a project's own tests were asked
        good = [a.program for a in attempts if a.stage == "passed"]
        said += f", {len(good) or 'none'} pass{'' if len(good) > 1 else 'es'} its tests"
    if len(good) < 2:
        return said
    if not isinstance(repair, Search):
        return f"{said}; answer {result.chosen % len(attempts) + 1} counts"
    doubtful = {suspicious(task.broken, program) for program in good} if repair.careful else set()
    among = "those that take nothing out" if len(doubtful) == 2 else "them"
    return f"{said}; {_RULES[repair.rank]} of {among} counts"


def _name(candidate: Candidate) -> str:
    adapter = next(iter(candidate.adapters), "")
    return f"{candidate.model.name} with adapter {adapter}" if adapter else candidate.model.name


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"
