"""Repair of a user's own code with a candidate."""

from __future__ import annotations

from pathlib import Path

from sleepy.artifacts import Task, TaskSet
from sleepy.errors import ConfigError
from sleepy.evaluate.candidates import Candidate
from sleepy.evaluate.examiner import Examiner
from sleepy.evaluate.metrics import cut_answers
from sleepy.own_code.project import mend
from sleepy.progress import say
from sleepy.sandbox.checker import Checker, Judge


def find(place: str) -> Path:
    """The file or project folder that a user names. Raises ConfigError when there is none."""
    path = Path(place).expanduser().resolve()
    wrong = "it is empty" if not place else f"there is no {place}" if not path.exists() else ""
    if not wrong and path.is_file() and path.suffix != ".rs":
        wrong = f"{place} does not end in .rs"
    if wrong:
        raise ConfigError(f"file must name a Rust file or the folder of a cargo project, but {wrong}")
    return path


def repair_own(
    examiner: Examiner, checker: Checker, candidate: Candidate, place: Path, edition: str, write: bool
) -> str:
    """The repairs of what does not compile in `place` as one diff; written in place too when `write` says so."""

    def solve(task: Task, judge: Judge) -> str | None:
        scores = examiner.measure(candidate, TaskSet(task.id, "", (task,)), "repair", judge).scores
        (result,) = scores.results
        attempt = result.attempts[result.chosen]
        if result.passed:
            return attempt.program
        left = ", ".join(code or "a syntax error" for code in attempt.codes)
        if cut := cut_answers(scores):
            say(f"{task.id}: {cut}")
        tried = "1 answer" if len(result.attempts) == 1 else f"{len(result.attempts)} answers"
        say(
            f"{task.id}: {tried} tried, none compiles ({left} left). Try another strategy (repair=multi_turn or "
            "best_of_n) or a larger model"
        )
        return None

    changes = mend(place, checker, solve, edition)
    for change in changes:
        if write:
            change.write()
    if changes:
        names = ", ".join(change.name for change in changes)
        say(f"{names} written" if write else f"{names} would change. Add write=true to change it")
    return "".join(change.diff() for change in changes)
