"""A model on a task set: ask, check with the real compiler, score."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from sleepy.artifacts import Attempt, Check, Prompt, Result, Scores, Served, Task, TaskSet, digest_of
from sleepy.engines._engine import Engine, Session
from sleepy.repair._strategy import Strategy
from sleepy.sandbox._sandbox import Checker

Route = Callable[[Task, Check], str]
"""A task and what rustc says of its broken program -> the name of the adapter that answers."""


def unrouted(task: Task, broken: Check) -> str:
    """The model as it is."""
    return ""


_VERSION = 1  # raise it when scores of the same inputs may change


def evaluate(
    served: Served,
    tasks: TaskSet,
    engine: Engine,
    repair: Strategy,
    checker: Checker,
    done: Callable[[], object] = lambda: None,
    route: Route = unrouted,
) -> Scores:
    """Scores of `served` on every task, each by the adapter that `route` names. `done` is called after each
    completion. EngineError and SandboxError go through: what is broken is never scored."""
    start = time.perf_counter()
    broken = checker.check_all([t.broken_job for t in tasks])
    routes = [route(t, b) for t, b in zip(tasks, broken, strict=True)]
    attempts: list[list[Attempt]] = [[] for _ in tasks.tasks]
    prompts: dict[int, Prompt] = {i: repair.first(t, b) for i, (t, b) in enumerate(zip(tasks, broken, strict=True))}
    with engine.open(served) as session:
        while prompts:
            chosen = [tasks.tasks[i] for i in prompts]
            asked = [replace(p, adapter=routes[i]) for i, p in prompts.items()]
            for i, attempt in zip(prompts, _try(session, chosen, asked, repair, checker, done), strict=True):
                attempts[i].append(attempt)
            failed = [i for i in prompts if attempts[i][-1].stage != "passed"]
            again = {i: repair.again(tasks.tasks[i], attempts[i]) for i in failed}
            prompts = {i: p for i, p in again.items() if p is not None}
    results = tuple(
        Result(t.id, t.family, t.pattern, t.level, a[-1].stage == "passed", tuple(a))
        for t, a in zip(tasks, attempts, strict=True)
    )
    name = str(engine.identity()["engine"])
    return Scores(tasks.name, tasks.digest, served.name, name, results, time.perf_counter() - start)


def _try(
    session: Session,
    tasks: Sequence[Task],
    prompts: Sequence[Prompt],
    repair: Strategy,
    checker: Checker,
    done: Callable[[], object],
) -> list[Attempt]:
    completions = session.generate(prompts, done)
    programs = [repair.program(c.text) for c in completions]
    checks: list[Check] = checker.check_all([t.repaired_job(p) for p, t in zip(programs, tasks, strict=True)])
    return [
        Attempt(c.text, program, check.stage, check.codes, c.prompt_tokens, c.completion_tokens, c.seconds)
        for c, program, check in zip(completions, programs, checks, strict=True)
    ]


def cached(
    folder: Path,
    served: Served,
    tasks: TaskSet,
    engine: Engine,
    repair: Strategy,
    checker: Checker,
    measure: Callable[[], Scores],
) -> tuple[Scores, bool]:
    """Scores from `folder` by everything that determines them, or from `measure()`; and whether they were there."""
    key = digest_of([_VERSION, served.digest, tasks.digest, engine.identity(), repair.identity(), checker.identity])
    path = folder / f"{key}.json"
    if path.is_file():
        return read_scores(path), True
    scores = measure()
    write_scores(path, scores)
    return scores, False


def write_scores(path: Path, scores: Scores) -> None:
    """Scores as JSON; the file appears whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".part")
    partial.write_text(json.dumps(asdict(scores), ensure_ascii=False, indent=1), encoding="utf-8")
    partial.replace(path)


def read_scores(path: Path) -> Scores:
    """Scores from `write_scores`."""
    record = json.loads(path.read_text(encoding="utf-8"))
    results = tuple(
        Result(**{**r, "attempts": tuple(Attempt(**{**a, "codes": tuple(a["codes"])}) for a in r["attempts"])})
        for r in record.pop("results")
    )
    return Scores(results=results, **record)
