"""Repair of a user's own code with a candidate."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sleepy.artifacts import Task, TaskSet
from sleepy.doubts.doubts import doubts, tried
from sleepy.doubts.page import write_doubts
from sleepy.errors import ConfigError
from sleepy.evaluate.candidates import Candidate
from sleepy.evaluate.examiner import Examiner
from sleepy.evaluate.metrics import cut_answers
from sleepy.own_code.project import mend
from sleepy.progress import say
from sleepy.results import Result
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


@dataclass(frozen=True)
class Surgery:
    """What repairs a user's code: a candidate that an examiner asks. A strategy that reads the model's doubts leaves a
    page about each file in the folder `pages`. With `tests` a project's own tests have a say."""

    examiner: Examiner
    checker: Checker
    candidate: Candidate
    pages: Path
    tests: bool = False

    def repair(self, place: Path, edition: str, write: bool) -> str:
        """The repairs of what does not compile in `place` as one diff; written in place too when `write` says so."""
        changes = mend(place, self.checker, self._solve, edition, self.tests)
        for change in changes:
            if write:
                change.write()
        if changes:
            names = ", ".join(change.name for change in changes)
            say(f"{names} written" if write else f"{names} would change. Add write=true to change it")
        return "".join(change.diff() for change in changes)

    def _solve(self, task: Task, judge: Judge) -> str | None:
        scores = self.examiner.measure(self.candidate, TaskSet(task.id, "", (task,)), "repair", judge).scores
        (result,) = scores.results
        attempt = result.attempts[result.chosen]
        say(f"{task.id}: {tried(self.examiner.repair, task, result)}")
        if cut := not result.passed and cut_answers(scores):
            say(f"{task.id}: {cut}")
        if attempt.stage == "test":
            say(f"{task.id}: what compiles fails the project's tests. Without cargo_test=true it counts")
        elif not result.passed:
            left = ", ".join(code or "a syntax error" for code in attempt.codes)
            others = (
                "" if self.examiner.repair.needs_chances else "another strategy (repair=multi_turn or best_of_n) or "
            )
            say(f"{task.id}: {left} left. Try {others}a larger model")
        if self.examiner.repair.needs_chances:
            self._page(task, result, judge)
        return attempt.program if result.passed else None

    def _page(self, task: Task, result: Result, judge: Judge) -> None:
        path = self.pages / f"{task.id.replace('/', '-')}.html"
        write_doubts(path, doubts(self.examiner, self.candidate, task, result, judge))
        say(f"{task.id}: its doubts and all answers are in {path}")
