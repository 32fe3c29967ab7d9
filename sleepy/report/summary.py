"""What a report is made from, what it writes, and the figures and sentences that terminal and page share."""

from __future__ import annotations

import math
import shlex
from dataclasses import dataclass
from pathlib import Path

from sleepy.artifacts import Adapter, GgufFile, TaskSet
from sleepy.evaluate.ability import Ability
from sleepy.evaluate.candidates import Candidate
from sleepy.evaluate.clusters import Clustered, clustered
from sleepy.evaluate.metrics import cut_answers, summary
from sleepy.evaluate.samples import Drawn
from sleepy.evaluate.stats import changes_by_family, compare, p_text, wilson
from sleepy.gate.gate import Verdict
from sleepy.pairs.material import Mix
from sleepy.results import Comparison, Course, Scores
from sleepy.study.step import History


@dataclass(frozen=True, kw_only=True)
class RunSummary:
    """A finished run.

    name: the run's name in MLflow. overrides: what the user set on the command line.
    rustfix: what rustc's own suggestions pass, without a model.
    comparison: of `before` (the untouched model) and `after` (what the run made of it).
    seconds: each stage's wall time, in the order in which the stages ran.
    ui_line: the command that opens the MLflow UI.
    revision: the code's commit, "" outside of a git checkout. dirty: whether the code differed from it.
    mixes: (step, what it was trained on); the step is "" where there is only one. Empty if nothing was trained.
    adapter: None where there is not one trained adapter.
    gguf, proof: the exported file, and how it was checked; None and "" if nothing was exported.
    held: what the file keeps of the adapter, a line for each figure.
    drawn: drawn answers of both; None where none were asked for.
    delivered: the exported file's own scores on the same koans.
    cached: which of "baseline", "trained" and "delivered" come from the cache and not from this run.
    course: None where there was no stream of tasks. history: None where there were no cycles.
    ability: what general texts say of the adapter; None where they were not asked.
    """

    name: str
    overrides: tuple[str, ...]
    model: str
    algorithm: str
    tasks: TaskSet
    rustfix: Scores
    before: Scores
    after: Scores
    comparison: Comparison
    verdict: Verdict[Candidate]
    seconds: dict[str, float]
    run_id: str
    ui_line: str
    revision: str
    dirty: bool
    mixes: tuple[tuple[str, Mix], ...] = ()
    adapter: Adapter | None = None
    gguf: GgufFile | None = None
    proof: str = ""
    held: tuple[str, ...] = ()
    drawn: Drawn | None = None
    delivered: Scores | None = None
    cached: frozenset[str] = frozenset()
    warnings: tuple[str, ...] = ()
    course: Course | None = None
    history: History | None = None
    ability: Ability | None = None

    @property
    def command(self) -> str:
        """The line that repeats the run, quoted for a shell."""
        return shlex.join(["python", "run.py", *self.overrides])

    @property
    def evaluations(self) -> dict[str, Scores]:
        """The columns of a report: name -> scores."""
        found = {"baseline": self.before, "trained": self.after}
        return found | ({"delivered": self.delivered} if self.delivered else {})


@dataclass(frozen=True)
class ReportFiles:
    """What a report wrote: the page, and its pictures in the page's order."""

    page: Path
    pictures: tuple[Path, ...]


@dataclass(frozen=True)
class Row:
    """A family's counts, or those of all koans: of `total`, how many each evaluation passed; fixes and regressions of
    the trained model against the baseline."""

    name: str
    total: int
    passed: tuple[int, ...]
    fixes: int
    regressions: int


def rows(run: RunSummary) -> list[Row]:
    """All koans first, then family by family in the set's order."""
    columns = [scores.by_family() for scores in run.evaluations.values()]
    changed = changes_by_family(run.comparison, run.before)
    families = [
        Row(name, total, tuple(column[name][0] for column in columns), *changed[name])
        for name, (_, total) in columns[0].items()
    ]
    passed = tuple(_passed(scores) for scores in run.evaluations.values())
    c = run.comparison
    return [Row("all", len(run.before.results), passed, len(c.fixes), len(c.regressions)), *families]


def warnings(run: RunSummary) -> list[str]:
    """What a reader must know before believing the figures, a line each."""
    return [*run.warnings, *(f"{name}: {cut}" for name, s in run.evaluations.items() if (cut := cut_answers(s)))]


def effort(run: RunSummary) -> list[list[str]]:
    """What the evaluations took: a row for each measure, with its name first, then a column for each evaluation."""
    columns = [["median steps to a pass", "prompt tokens", "answer tokens", "seconds"]]
    for name, scores in run.evaluations.items():
        found = summary(scores)
        steps = f"{found['median_steps']:g}" if "median_steps" in found else "none passed"
        seconds = f"{scores.seconds:.1f}{' (cached)' if name in run.cached else ''}"
        columns.append([steps, f"{found['prompt_tokens']:.0f}", f"{found['answer_tokens']:.0f}", seconds])
    return [list(row) for row in zip(*columns, strict=True)]


def headline(run: RunSummary) -> str:
    """What came of the run, in one line for a person: the change and what the gate made of it."""
    return verdict_line(run.before, run.after, run.comparison, run.verdict, "Adapter" if run.adapter else "Result")


def verdict_line(scores: Scores, result: Scores, c: Comparison, verdict: Verdict[Candidate], subject: str) -> str:
    """The change from the untouched model's scores to the result's, and what the gate made of the `subject`."""
    total, before, after = len(scores.results), _passed(scores), _passed(result)
    if not c.fixes and not c.regressions:
        if math.isinf(c.detectable):
            unseen = f"{_koans(total)} {'is' if total == 1 else 'are'} too few to show any difference"
        else:
            unseen = f"with {_koans(total)} a true difference below {100 * c.detectable:.0f} points could go unnoticed"
        found = f"No change found: {before} of {total} before and after ({unseen})."
    else:
        chance = ", which may be chance" if c.p_value >= 0.05 else ""
        found = (
            f"{before} of {total} before, {after} after: +{len(c.fixes)} -{len(c.regressions)}, "
            f"{p_text(c.p_value)}{chance}."
        )
    if verdict.promoted and after > before:
        return f"{found} {subject} promoted."
    return f"{found} {subject} {'accepted' if verdict.promoted else 'refused'} by the gate."


def pass_line(scores: Scores) -> str:
    """What an evaluation came to, in one line for a person."""
    passed, total = _passed(scores), len(scores.results)
    low, high = (f"{100 * bound:.0f}" for bound in wilson(passed, total))
    return f"{scores.model}, untouched: {passed} of {total} pass (95 % {low} to {high} %)."


def outcome_style(run: RunSummary) -> str:
    """Rich's style for the headline: green for a gain that was promoted, red for a loss that was refused."""
    gain = _passed(run.after) - _passed(run.before)
    if gain > 0 and run.verdict.promoted:
        return "bold green"
    return "bold red" if gain < 0 and not run.verdict.promoted else "bold"


def gate_reason(run: RunSummary) -> str:
    """The gate's reason, without the outcome that the headline has told."""
    return run.verdict.reason.removeprefix("promoted: ").removeprefix("refused: ")


def delivery(run: RunSummary) -> str:
    """The exported file against the trained model, koan by koan; "" if it was not measured."""
    if run.delivered is None:
        return ""
    c = compare(run.after, run.delivered)
    return f"delivered against trained: +{len(c.fixes)} -{len(c.regressions)}, {p_text(c.p_value)}"


def limits(run: RunSummary) -> str:
    """What the koans can and cannot tell about this run, in words."""
    c, total = run.comparison, len(run.before.results)
    changed = len(c.fixes) + len(c.regressions)
    if math.isinf(c.detectable):
        return f"{_koans(total)} cannot show a difference: even if every answer improved, p would not be below 0.05."
    text = (
        f"With {_koans(total)}, {changed} of which changed, a true difference must be at least "
        f"{100 * c.detectable:.1f} points to be noticed (p < 0.05) in 80 % of experiments."
    )
    if c.p_value < 0.05:
        return f"{text} The difference found here is larger than chance would explain."
    due = "This difference may be due to chance; smaller" if changed else "Smaller"
    return f"{text} {due} real differences could go undetected with this many koans."


def by_cluster(run: RunSummary) -> list[Clustered]:
    """The paired comparison by pattern and by family, of which there must be several."""
    found = [clustered(run.before, run.after, by) for by in ("pattern", "family")]
    return [units for units in found if units.clusters > 1]


def duration(seconds: float) -> str:
    """ "0.4 s", "41 s", "3 min 41 s" or "2 h 5 min"."""
    if seconds < 59.5:
        return f"{seconds:.1f} s" if seconds < 9.95 else f"{seconds:.0f} s"
    whole = round(seconds)
    return f"{whole // 60} min {whole % 60} s" if whole < 3600 else f"{whole // 3600} h {whole % 3600 // 60} min"


def _passed(scores: Scores) -> int:
    return sum(r.passed for r in scores.results)


def _koans(count: int) -> str:
    return f"{count} koan{'' if count == 1 else 's'}"
