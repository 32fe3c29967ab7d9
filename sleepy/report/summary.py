"""What a report is made from, what it leaves behind, and the figures that terminal and page share."""

from __future__ import annotations

import math
import shlex
import statistics
from dataclasses import dataclass
from pathlib import Path

from sleepy.artifacts import Adapter, Comparison, Course, GgufFile, Mix, Scores, TaskSet, Verdict
from sleepy.evaluate.stats import changes_by_family
from sleepy.study.learned import History


@dataclass(frozen=True, kw_only=True)
class RunSummary:
    """A finished run.

    `name` is the run's name in MLflow, `overrides` what the user set on the command line, `revision` the code's commit
    ("" outside of a git checkout) and `dirty` whether the tree differed from it. `mix` and `adapter` are None where
    nothing was trained, `gguf` where nothing was exported. `seconds` gives each stage's wall time in the order they
    ran. `proof` says how the export was proven, `ui_line` is the command that opens the MLflow UI. `course` is None
    where there was no stream of tasks, `history` where there were no cycles.
    """

    name: str
    overrides: tuple[str, ...]
    model: str
    algorithm: str
    tasks: TaskSet
    before: Scores
    after: Scores
    comparison: Comparison
    verdict: Verdict
    mix: Mix | None
    adapter: Adapter | None
    gguf: GgufFile | None
    proof: str
    seconds: dict[str, float]
    run_id: str
    ui_line: str
    revision: str
    dirty: bool
    warnings: tuple[str, ...] = ()
    course: Course | None = None
    history: History | None = None

    @property
    def command(self) -> str:
        """The line that repeats the run, quoted for a shell."""
        return shlex.join(["python", "run.py", *self.overrides])


@dataclass(frozen=True)
class ReportFiles:
    """What a report wrote: the page, and its pictures in the page's order."""

    page: Path
    pictures: tuple[Path, ...]


@dataclass(frozen=True)
class Row:
    """A family's counts, or those of all tasks: passed of `total` before and after, fixes and regressions."""

    name: str
    total: int
    before: int
    after: int
    fixes: int
    regressions: int


def rows(run: RunSummary) -> list[Row]:
    """All tasks first, then family by family in the set's order."""
    after, changed = run.after.by_family(), changes_by_family(run.comparison, run.before)
    families = [
        Row(name, total, passed, after[name][0], *changed[name])
        for name, (passed, total) in run.before.by_family().items()
    ]
    return [
        Row(
            "all",
            *(
                sum(getattr(row, column) for row in families)
                for column in ("total", "before", "after", "fixes", "regressions")
            ),
        ),
        *families,
    ]


def median_steps(scores: Scores) -> float | None:
    """Median number of attempts up to the pass, over the tasks that passed; None where none did."""
    steps = [r.steps for r in scores.results if r.passed]
    return statistics.median(steps) if steps else None


def tokens(scores: Scores) -> tuple[int, int]:
    """Tokens of all prompts and of all answers."""
    attempts = [a for r in scores.results for a in r.attempts]
    return sum(a.prompt_tokens for a in attempts), sum(a.completion_tokens for a in attempts)


def effort(run: RunSummary) -> list[tuple[str, str, str]]:
    """(what, baseline, trained) rows on what the evaluations took."""

    def column(scores: Scores) -> list[str]:
        steps = median_steps(scores)
        return ["none passed" if steps is None else f"{steps:g}", *map(str, tokens(scores)), f"{scores.seconds:.1f}"]

    names = ["median steps to a pass", "prompt tokens", "answer tokens", "seconds"]
    return list(zip(names, column(run.before), column(run.after), strict=True))


def duration(seconds: float) -> str:
    """ "0.4 s", "41 s", "3 min 41 s" or "2 h 5 min"."""
    if seconds < 59.5:
        return f"{seconds:.1f} s" if seconds < 9.95 else f"{seconds:.0f} s"
    whole = round(seconds)
    return f"{whole // 60} min {whole % 60} s" if whole < 3600 else f"{whole // 3600} h {whole % 3600 // 60} min"


def limits(run: RunSummary) -> str:
    """What the task set can and cannot tell about this run, in words."""
    c, n = run.comparison, len(run.before.results)
    changed = len(c.fixes) + len(c.regressions)
    if math.isinf(c.detectable):
        return f"{n} tasks can show nothing: even if all of them changed for the better, p would not be below 0.05."
    text = (
        f"With {n} tasks, of which {changed} changed, a true difference must be about "
        f"{100 * c.detectable:.1f} points to be noticed (p < 0.05) in 80 % of all experiments."
    )
    if c.p_value < 0.05:
        return f"{text} The difference found here is larger than chance explains."
    return (
        f"{text} What was found here chance may explain, and true differences smaller than that can go unnoticed "
        "on this set."
    )
