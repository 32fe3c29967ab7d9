"""The stage that repairs a user's own code with the adapter in use."""

from __future__ import annotations

from pathlib import Path

from sleepy.adapters.folder import adapter_in
from sleepy.artifacts import Task, TaskSet
from sleepy.errors import ConfigError
from sleepy.own_code.project import mend
from sleepy.progress import say
from sleepy.sandbox.checker import Judge
from sleepy.study.learner import Learner


def find(place: str) -> Path:
    """The file or project folder that a user names. Raises ConfigError when there is none."""
    path = Path(place).expanduser().resolve()
    if not place or not path.exists():
        raise ConfigError(f"file: found {place or 'nothing'}, expected a Rust file or the folder of a cargo project")
    if path.is_file() and path.suffix != ".rs":
        raise ConfigError(f"file: found {place}, expected a file that ends in .rs, or the folder of a cargo project")
    return path


def repair_own(learner: Learner, place: Path) -> str:
    """The repairs of what does not compile in `place` as one diff, in place when `write` says so. The base model
    answers, with the adapter that was promoted last on it."""
    base, root = learner.base, learner.root
    promoted = learner.tracker.promoted(f"sleepy-{base.name}")
    adapter = adapter_in(promoted.source, base) if promoted else None
    say(
        f"{base.name} with " + (f"the adapter of run {promoted.run_id}" if promoted else "no adapter: none is promoted")
    )

    def solve(task: Task, judge: Judge) -> str | None:
        own = TaskSet(task.id, "", (task,))
        (result,) = learner.measure(own, adapter, "repair", judge).results
        attempt = result.attempts[result.chosen]
        if result.passed:
            return attempt.program
        left = ", ".join(code or "a syntax error" for code in attempt.codes)
        say(f"{task.id}: {len(result.attempts)} tried, none compiles ({left} left). Try repair=multi_turn or best_of_n")
        return None

    changes = mend(place, learner.checker, solve, root.edition)
    for change in changes:
        if root.write:
            change.write()
    if changes:
        names = ", ".join(change.name for change in changes)
        say(f"{names} written" if root.write else f"{names} would change: write=true does it")
    return "".join(change.diff() for change in changes)
