"""A model on a task set: ask, check with the real compiler, score."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from sleepy.artifacts import Attempt, Check, Completion, Prompt, Result, Scores, Served, Task, TaskSet, digest_of
from sleepy.engines.engine import Engine
from sleepy.episodes.record import Record
from sleepy.progress import say
from sleepy.repair.strategy import Strategy, Try
from sleepy.routing.route import Route
from sleepy.rust.signature import signature_of
from sleepy.sandbox.checker import Judge


def unrouted(task: Task, broken: Check) -> str:
    """The model as it is."""
    return ""


_VERSION = 3  # raise it when scores of the same inputs may change


@dataclass
class _Case:
    """A task under repair: what was asked so far, and what came of it by number. `before` is what the sandbox found of
    the program before the questions that are open."""

    task: Task
    broken: Check
    adapter: str
    before: Check
    prompts: list[Prompt] = field(default_factory=list)
    tries: dict[int, Try] = field(default_factory=dict)
    attempts: dict[int, Attempt] = field(default_factory=dict)

    def ask(self, repair: Strategy) -> bool:
        """Add the strategy's next prompts; whether there are any."""
        asked = repair.prompts(self.task, self.broken, self._tries())
        self.prompts += [replace(p, adapter=p.adapter or self.adapter) for p in asked]
        return bool(asked)

    def answered(
        self, number: int, completion: Completion, repair: Strategy, checker: Judge, record: Record | None
    ) -> None:
        """Judge an answer. The strategy is told whether the program compiles, and nothing of the hidden tests."""
        program = repair.program(completion.text)
        check = checker.check(*self.task.repaired_job(program))
        seen = Check("passed", "compiles") if check.compiles else check
        self.tries[number] = Try(number, self.prompts[number], completion.text, program, seen)
        tokens = (completion.prompt_tokens, completion.completion_tokens, completion.seconds)
        found = (check.stage, check.codes, *tokens, signature_of(check), check.by_load)
        attempt = Attempt(completion.text, program, *found)
        self.attempts[number] = attempt
        if record is not None:
            record(self.task, number, self.prompts[number], attempt, self.before, check)
        if len(self.tries) == len(self.prompts):
            self.before = check

    def result(self, repair: Strategy) -> Result:
        """The task's outcome."""
        t, tries = self.task, self._tries()
        attempts = tuple(self.attempts[n] for n in range(len(tries)))
        choices = [repair.choose(tries[: k + 1]) for k in range(len(tries))]
        within = tuple(attempts[i].stage == "passed" for i in choices)
        return Result(t.id, t.family, t.pattern, t.level, within[-1], attempts, choices[-1], within)

    def _tries(self) -> list[Try]:
        return [self.tries[n] for n in sorted(self.tries)]


def evaluate(
    served: Served,
    tasks: TaskSet,
    engine: Engine,
    repair: Strategy,
    checker: Judge,
    done: Callable[[], object] = lambda: None,
    route: Route = unrouted,
    record: Record | None = None,
) -> Scores:
    """Scores of `served` on every task, each by the adapter that the strategy or else `route` names. `done` is called
    after each task, `record` after each attempt, as soon as it is judged. EngineError and SandboxError go through: what
    is broken is never scored."""
    start = time.perf_counter()
    repair = repair.serving([a.name for a in served.adapters])
    broken = checker.check_all([t.broken_job for t in tasks])
    cases = [_Case(t, b, route(t, b), b) for t, b in zip(tasks, broken, strict=True)]
    for case in cases:
        case.ask(repair)
    with engine.open(served) as session:
        while asked := [(c, n) for c in cases for n in range(len(c.prompts)) if n not in c.tries]:

            def answered(place: int, completion: Completion, asked: list[tuple[_Case, int]] = asked) -> None:
                case, number = asked[place]
                case.answered(number, completion, repair, checker, record)
                if len(case.tries) == len(case.prompts) and not case.ask(repair):
                    done()

            session.generate([c.prompts[n] for c, n in asked], answered)
    results = tuple(case.result(repair) for case in cases)
    name = str(engine.identity()["engine"])
    return Scores(tasks.name, tasks.digest, served.name, name, results, time.perf_counter() - start)


def cached(
    folder: Path,
    served: Served,
    tasks: TaskSet,
    engine: Engine,
    repair: Strategy,
    checker: Judge,
    measure: Callable[[], Scores],
) -> tuple[Scores, bool]:
    """Scores from `folder` by everything that determines them, or from `measure()`; and whether they were there. Scores
    that hang on the machine's load are not kept."""
    key = digest_of([_VERSION, served.digest, tasks.digest, engine.identity(), repair.identity(), checker.identity])
    path = folder / f"{key}.json"
    if path.is_file():
        return read_scores(path), True
    scores = measure()
    if loaded := [r.task for r in scores.results if any(attempt.by_load for attempt in r.attempts)]:
        say(f"these scores are not kept for later runs: the machine's load may have failed {', '.join(loaded)}")
    else:
        write_scores(path, scores)
    return scores, False


def write_scores(path: Path, scores: Scores) -> None:
    """Scores as JSON; the file appears whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}.part")
    partial.write_text(json.dumps(asdict(scores), ensure_ascii=False, indent=1), encoding="utf-8")
    partial.replace(path)


def read_scores(path: Path) -> Scores:
    """Scores from `write_scores`."""
    record = json.loads(path.read_text(encoding="utf-8"))
    results = tuple(_result(r) for r in record.pop("results"))
    return Scores(results=results, **record)


def _result(r: dict[str, Any]) -> Result:
    attempts = tuple(Attempt(**{**a, "codes": tuple(a["codes"])}) for a in r["attempts"])
    return Result(**{**r, "attempts": attempts, "within": tuple(r["within"])})
