"""A sweep's jobs beside each other, each paired koan by koan with the first row."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from sleepy.evaluate.metrics import summary
from sleepy.evaluate.several import benjamini_hochberg, max_t
from sleepy.evaluate.stats import compare, mcnemar_exact, wilson
from sleepy.results import Comparison, Scores
from sleepy.tables import markdown_table

HEAD = ("job", "passed (95 %)", "compiles", "+", "-", "p", "tokens/fix", "s/fix", "run")
SCREEN = 20  # with more comparisons than this a sweep is a screen, and a column q comes after p


@dataclass(frozen=True)
class JobScores:
    """What a job of a sweep measured: its untouched model, and what came of it (None: it ended with the baseline)."""

    words: tuple[str, ...]
    run_id: str
    baseline: Scores
    result: Scores | None = None
    taken: bool = False  # from a run that finished before the sweep


def named(words: Sequence[str], shared: Collection[str]) -> str:
    """A job by those of its words that it does not share with all others."""
    return " ".join(word for word in words if word not in shared) or "all"


def sweep_table(jobs: Sequence[JobScores], shared: Collection[str]) -> str:
    """A Markdown table with a row for each job, named by its words but for those that all jobs of the sweep have,
    `shared`.

    Where jobs train, the first job's baseline is a row of its own and comes first. + and - are the koans gained and
    lost against the first row; a job that was measured on other koans is not compared. p holds for all comparisons
    together (step-down max-T). Of a screen of many jobs most true gains have a large p by that, so q stands beside it:
    of the jobs with q below 0.05 about one in twenty is expected to be chance (Benjamini and Hochberg).
    """
    rows = [
        (named(j.words, shared), f"taken from {j.run_id}" if j.taken else j.run_id, j.result or j.baseline)
        for j in jobs
    ]
    if jobs[0].result:
        rows.insert(0, ("baseline", jobs[0].run_id, jobs[0].baseline))
    first = rows[0][2]
    paired = {i: compare(first, s) for i, (_, _, s) in enumerate(rows) if i and s.tasks_digest == first.tasks_digest}
    counts = {i: (len(c.fixes), len(c.regressions)) for i, c in paired.items()}
    adjusted = [max_t([_changes(first, rows[i][2]) for i in paired])]
    if screen := len(paired) > SCREEN:
        adjusted.append(benjamini_hochberg([mcnemar_exact(*both) for both in counts.values()]))
    values = dict(zip(paired, zip(*adjusted, strict=True), strict=True))
    at = HEAD.index("p") + 1
    lines = []
    for i, (name, run_id, scores) in enumerate(rows):
        changes = [""] * (3 + screen)
        if i in paired:
            changes = [*map(str, counts[i]), *(f"{value:.2g}" for value in values[i])]
        lines.append([name, *_figures(scores, changes), run_id])
    head = (*HEAD[:at], *(("q",) if screen else ()), *HEAD[at:])
    return f"{markdown_table(head, lines)}\n{_legend(paired, len(first.results), screen)}"


def _changes(before: Scores, after: Scores) -> list[int]:
    """What became of each koan: 1 for a fix, -1 for a regression, else 0."""
    return [a.passed - b.passed for b, a in zip(before.results, after.results, strict=True)]


def _legend(paired: Mapping[int, Comparison], koans: int, screen: bool) -> str:
    """What p and q are; nothing where nothing is compared."""
    if not paired:
        return ""
    text = "McNemar's exact test" if len(paired) == 1 else f"step-down max-T over {len(paired)} comparisons"
    more = "; q: Benjamini-Hochberg, for a screen whose findings are measured again" if screen else ""
    return f"\np: {text}, with {koans} koans as units{more}.\n"


def _figures(scores: Scores, changes: Sequence[str]) -> list[str]:
    found, total = summary(scores), len(scores.results)
    passed = int(found["passed"])
    low, high = wilson(passed, total)
    cost = [
        f"{found[name]:.{digits}f}" if name in found else "-"
        for name, digits in (("tokens_per_fix", 0), ("seconds_per_fix", 1))
    ]
    compiles = f"{100 * found['compile_rate']:.0f} %" if "compile_rate" in found else "-"
    return [f"{passed}/{total} ({100 * low:.0f} to {100 * high:.0f})", compiles, *changes, *cost]
