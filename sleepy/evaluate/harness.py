"""A model on a task set: ask, check with the real compiler, score."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from sleepy.artifacts import Check, Completion, Prompt, Served, Task, TaskSet
from sleepy.engines.engine import Engine
from sleepy.episodes.record import Record
from sleepy.evaluate.answers import Answers
from sleepy.evaluate.candidates import unrouted
from sleepy.repair.strategy import Strategy, Try
from sleepy.results import Attempt, Result, Scores
from sleepy.routing.route import Route
from sleepy.rust.signature import signature_of
from sleepy.sandbox.checker import Judge


@dataclass
class _Case:
    """A task under repair: what was asked so far, and what came of it by number. `shown` is the task with the program
    that the first question is about, `broken` what the sandbox found of that, and `before` of the program before the
    questions that are open."""

    task: Task
    shown: Task
    broken: Check
    adapter: str
    before: Check
    prompts: list[Prompt] = field(default_factory=list)
    tries: dict[int, Try] = field(default_factory=dict)
    attempts: dict[int, Attempt] = field(default_factory=dict)

    def ask(self, repair: Strategy) -> bool:
        """Add the strategy's next prompts; whether there are any."""
        asked = repair.prompts(self.shown, self.broken, self._tries())
        self.prompts += [replace(p, adapter=p.adapter or self.adapter) for p in asked]
        return bool(asked)

    def answered(self, number: int, completion: Completion, by: Examination, new: bool) -> None:
        """Judge an answer. The strategy is told whether the program compiles, and nothing of the hidden tests. What is
        not `new` was recorded by an earlier run."""
        program = by.repair.program(completion.text)
        check = by.judge.check(*self.task.repaired_job(program))
        seen = Check("passed", "compiles") if check.compiles else check
        self.tries[number] = Try(number, self.prompts[number], completion.text, program, seen)
        attempt = Attempt(
            text=completion.text,
            program=program,
            stage=check.stage,
            codes=check.codes,
            prompt_tokens=completion.prompt_tokens,
            completion_tokens=completion.completion_tokens,
            seconds=completion.seconds,
            signature=signature_of(check),
            by_load=check.by_load,
            cut=completion.cut,
        )
        self.attempts[number] = attempt
        if new and by.record is not None:
            by.record(self.task, number, self.prompts[number], attempt, self.before, check)
        if new and by.answers is not None:
            by.answers.add(self.task.id, number, self.prompts[number], completion)
        if len(self.tries) == len(self.prompts):
            self.before = check

    def settled(self, check: Check) -> None:
        """What the task was shown with is the answer: no model was asked, so no attempt of one is recorded."""
        program, kind = self.shown.broken, signature_of(check)
        self.attempts[0] = Attempt("", program, check.stage, check.codes, 0, 0, 0.0, kind, check.by_load)

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
        start, earlier = time.perf_counter(), 0.0
        cases = self._cases(tasks)
        self._settle([case for case in cases if not case.prompts], done)
        with self.engine.open(served) as session:
            while asked := [(c, n) for c in cases for n in range(len(c.prompts)) if n not in c.tries]:
                prompts = [c.prompts[n] for c, n in asked]
                known = self._known(asked)
                earlier += sum(completion.seconds for completion in known.values())

                def answered(
                    place: int,
                    completion: Completion,
                    asked: list[tuple[_Case, int]] = asked,
                    known: Mapping[int, Completion] = known,
                ) -> None:
                    case, number = asked[place]
                    case.answered(number, completion, self, new=place not in known)
                    if len(case.tries) == len(case.prompts) and not case.ask(self.repair):
                        done()

                for place, completion in known.items():
                    answered(place, completion)
                session.generate(prompts, answered, known)
        results = tuple(case.result(self.repair) for case in cases)
        name = str(self.engine.identity()["engine"])
        seconds = earlier + time.perf_counter() - start
        return Scores(tasks.name, tasks.digest, served.name, name, results, seconds)

    def _known(self, asked: Sequence[tuple[_Case, int]]) -> dict[int, Completion]:
        """Those of the answers that are there already, by place."""
        if self.answers is None:
            return {}
        found = [self.answers.get(case.task.id, n, case.prompts[n]) for case, n in asked]
        return {place: answer for place, answer in enumerate(found) if answer}

    def _cases(self, tasks: TaskSet) -> list[_Case]:
        broken = self.judge.check_all([t.broken_job for t in tasks])
        begun = self.repair.begin(self.judge, [t.broken_job for t in tasks], broken)
        cases = []
        for task, (program, check) in zip(tasks, begun, strict=True):
            shown = replace(task, broken=program)
            cases.append(_Case(task, shown, check, self.route(shown, check), check))
            if self.repair.asks and not (check.compiles and shown != task):
                cases[-1].ask(self.repair)
        return cases

    def _settle(self, cases: list[_Case], done: Callable[[], object]) -> None:
        """Judge the cases about which no model is asked."""
        checks = self.judge.check_all([case.task.repaired_job(case.shown.broken) for case in cases])
        for case, check in zip(cases, checks, strict=True):
            case.settled(check)
            done()
