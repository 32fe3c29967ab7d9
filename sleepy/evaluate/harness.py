"""A model on a task set: ask, check with the real compiler, score."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace

from sleepy.artifacts import Check, Completion, Prompt, Served, Task, TaskSet
from sleepy.engines.engine import Done, Engine
from sleepy.episodes.record import Record
from sleepy.evaluate.answers import Answers
from sleepy.evaluate.candidates import unrouted
from sleepy.evaluate.grades import graded
from sleepy.machine import cores
from sleepy.repair.strategy import Strategy, Try
from sleepy.results import Attempt, Result, Scores
from sleepy.routing.route import Route
from sleepy.rust.signature import signature_of
from sleepy.sandbox.checker import Judge

_BACKLOG = 4  # verdicts that may be open while the model goes on


@dataclass
class _Case:
    """A task under repair: what was asked so far, and what came of it by number. `shown` is the task with the program
    that the first question is about, and `broken` what the sandbox found of that. `about` are the numbers of the tries
    that the questions are about, -1 for `shown`. `verdicts` are those that rustc may still be working on."""

    task: Task
    shown: Task
    broken: Check
    adapter: str
    prompts: list[Prompt] = field(default_factory=list)
    about: list[int] = field(default_factory=list)
    tries: dict[int, Try] = field(default_factory=dict)
    answers: dict[int, Completion] = field(default_factory=dict)
    verdicts: dict[int, Future[Check]] = field(default_factory=dict)
    attempts: dict[int, Attempt] = field(default_factory=dict)

    @property
    def open(self) -> list[int]:
        """The numbers of the questions that are not answered."""
        return [n for n in range(len(self.prompts)) if n not in self.tries]

    def ask(self, repair: Strategy) -> list[Prompt]:
        """Add the strategy's next prompts, if any, and return them."""
        asked = repair.prompts(self.shown, self.broken, self._tries())
        new = [replace(p, adapter=p.adapter or self.adapter) for p in asked]
        self.about += [self._about(prompt) for prompt in new]
        self.prompts += new
        return new

    def _about(self, prompt: Prompt) -> int:
        """The number of the try whose program a prompt asks about; a prompt that only goes on elsewhere with the answer
        to an earlier one is about the same."""
        for earlier, about in zip(self.prompts, self.about, strict=True):
            if earlier.messages == prompt.messages:
                return about
        return max((n for n, t in self.tries.items() if prompt.copy_from.startswith(t.program.rstrip())), default=-1)

    def answered(self, number: int, completion: Completion, by: Examination, rustc: Executor) -> list[Prompt]:
        """Hand an answer to the compiler, and return what the strategy asks next. It is told whether the program
        compiles, and nothing of hidden tests; it waits for the verdict only if it looks at it."""
        program = by.repair.program(completion.text)
        verdict = rustc.submit(by.judge.check, *self.task.repaired_job(program))

        def seen() -> Check:
            check = verdict.result()
            return check if by.judge.open_tests or not check.compiles else Check("passed", "compiles")

        found = completion.completion_tokens, completion.departures, completion.chance
        self.verdicts[number], self.answers[number] = verdict, completion
        self.tries[number] = Try(number, self.prompts[number], completion.text, program, seen, *found)
        return [] if self.open else self.ask(by.repair)

    def settle(self, number: int, by: Examination, new: bool) -> None:
        """Take note of an answer's verdict. What is not `new` was recorded by an earlier run."""
        check, completion = self.verdicts[number].result(), self.answers[number]
        attempt = Attempt(
            text=completion.text,
            program=self.tries[number].program,
            stage=check.stage,
            codes=check.codes,
            prompt_tokens=completion.prompt_tokens,
            completion_tokens=completion.completion_tokens,
            seconds=completion.seconds,
            signature=signature_of(check),
            by_load=check.by_load,
            cut=completion.cut,
        )
        self.attempts[number] = attempt = graded(attempt, self.task, check.blocks)
        if new and by.record is not None:
            about = self.about[number]
            before = self.broken if about < 0 else self.verdicts[about].result()
            by.record(self.task, number, self.prompts[number], attempt, before, check)

    def settled(self, check: Check) -> None:
        """What the task was shown with is the answer: no model was asked, so no attempt of one is recorded."""
        program, kind = self.shown.broken, signature_of(check)
        attempt = Attempt("", program, check.stage, check.codes, 0, 0, 0.0, kind, check.by_load)
        self.attempts[0] = graded(attempt, self.task, check.blocks)

    def result(self, repair: Strategy) -> Result:
        """The task's outcome."""
        t, tries = self.task, self._tries()
        attempts = tuple(self.attempts[n] for n in range(len(self.attempts)))
        choices = [repair.choose(tries[: k + 1]) for k in range(len(tries))] or [0]
        within = tuple(attempts[i].stage == "passed" for i in choices)
        return Result(t.id, t.family, t.pattern, t.level, within[-1], attempts, choices[-1], within)

    def _tries(self) -> list[Try]:
        return [self.tries[n] for n in sorted(self.tries)]


@dataclass(frozen=True)
class Examination:
    """How a model is asked and judged. `route` names the adapter that answers a task unless the strategy does; `record`
    hears of each attempt as soon as it is judged. `answers` keeps the answers until all are there: those of a run that
    was interrupted are judged again, but not asked for."""

    engine: Engine
    repair: Strategy
    judge: Judge
    route: Route = unrouted
    record: Record | None = None
    answers: Answers | None = None

    def first_prompts(self, tasks: TaskSet) -> list[Prompt]:
        """What every task is asked first, in the set's order: whatever changes a prompt changes these."""
        return [prompt for case in self._cases(tasks) for prompt in case.prompts]

    def run(self, served: Served, tasks: TaskSet, done: Callable[[], object] = lambda: None) -> Scores:
        """Scores of `served` on every task; `done` is called after each. EngineError and SandboxError go through: what
        is broken is never scored."""
        start = time.perf_counter()
        cases = self._cases(tasks)
        self._settle([case for case in cases if not case.prompts], done)
        with ThreadPoolExecutor(cores()) as rustc, self.engine.open(served) as session:
            desk = _Desk(self, rustc, done)
            asked = [(c, n) for c in cases for n in (range(1) if c.prompts and desk.known(c) else c.open)]
            seconds = sum(answer.seconds for case, _ in asked for answer in case.answers.values())
            try:
                while any(case.open for case in cases):
                    known = {i: case.answers[n] for i, (case, n) in enumerate(asked) if n in case.answers}
                    session.generate([c.prompts[n] for c, n in asked], desk.taker(asked), known)
                    asked = [(c, n) for c in cases for n in c.open]
            finally:
                desk.settle(wait=True)
        results = tuple(case.result(self.repair) for case in cases)
        name = str(self.engine.identity()["engine"])
        seconds += time.perf_counter() - start
        return Scores(tasks.name, tasks.digest, served.name, name, results, seconds)

    def _cases(self, tasks: TaskSet) -> list[_Case]:
        broken = self.judge.check_all([t.broken_job for t in tasks])
        begun = self.repair.begin(self.judge, [t.broken_job for t in tasks], broken)
        cases = []
        for task, (program, check) in zip(tasks, begun, strict=True):
            shown = replace(task, broken=program)
            cases.append(_Case(task, shown, check, self.route(shown, check)))
            if self.repair.asks and not (check.compiles and shown != task):
                cases[-1].ask(self.repair)
        return cases

    def _settle(self, cases: list[_Case], done: Callable[[], object]) -> None:
        """Judge the cases about which no model is asked."""
        checks = self.judge.check_all([case.task.repaired_job(case.shown.broken) for case in cases])
        for case, check in zip(cases, checks, strict=True):
            case.settled(check)
            done()


class _Desk:
    """Where answers arrive while the model goes on: rustc works in threads, and what it finds is noted in order."""

    def __init__(self, by: Examination, rustc: Executor, done: Callable[[], object]) -> None:
        self._by, self._rustc, self._done = by, rustc, done
        self._waiting: list[tuple[_Case, int, bool]] = []

    def known(self, case: _Case) -> bool:
        """Answer a task's questions with what an earlier run was told, if that is there to the last."""
        answers, before = self._by.answers, len(case.prompts)
        while answers is not None and case.open:
            for n in case.open:
                answer = answers.get(case.task.id, n, case.prompts[n])
                if answer is None:  # asked again from the first question on: what the engine has in memory matters
                    del case.prompts[before:], case.about[before:]
                    for found in (case.tries, case.answers, case.verdicts):
                        found.clear()
                    self._waiting = [entry for entry in self._waiting if entry[0] is not case]
                    return False
                case.answered(n, answer, self._by, self._rustc)
                self._waiting.append((case, n, False))
        return not case.open

    def taker(self, asked: list[tuple[_Case, int]]) -> Done:
        """What an engine tells of its answers to `asked`."""
        numbers = {i: [n] for i, (_, n) in enumerate(asked)}  # what is answered next under an index

        def take(index: int, completion: Completion) -> list[Prompt]:
            case, number = asked[index][0], numbers[index].pop(0)
            new = case.answered(number, completion, self._by, self._rustc)
            self._waiting.append((case, number, True))
            self.settle()
            if any(prompt.adapter != case.prompts[number].adapter for prompt in new):
                return []  # for the next call, which loads it
            numbers[index] += case.open if new else []
            return new

        return take

    def settle(self, wait: bool = False) -> None:
        """Note the verdicts that are there; all but the last few, or with `wait` all, are waited for. A task's answers
        are kept once they are all noted, so that whoever goes on notes none twice."""
        while waiting := self._waiting:
            case, number, new = waiting[0]
            if not (wait or len(waiting) > _BACKLOG or case.verdicts[number].done()):
                return
            case.settle(number, self._by, new)
            del waiting[0]
            if not case.open and len(case.attempts) == len(case.prompts):
                if new and self._by.answers is not None:
                    for n, answer in case.answers.items():
                        self._by.answers.add(case.task.id, n, case.prompts[n], answer)
                self._done()
