"""A sweep's jobs beside each other, each paired koan by koan with the first row."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sleepy.evaluate.metrics import summary
from sleepy.evaluate.stats import compare, holm, wilson
from sleepy.results import Scores
from sleepy.tables import markdown_table

HEAD = ("job", "passed (95 %)", "compiles", "+", "-", "p", "tokens/fix", "s/fix", "run")


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
    lost against the first row, p is McNemar's exact test of them, corrected for the number of rows (Holm); a job that
    was measured on other koans is not compared.
    """
    rows = [
        (named(j.words, shared), f"taken from {j.run_id}" if j.taken else j.run_id, j.result or j.baseline)
        for j in jobs
    ]
    if jobs[0].result:
        rows.insert(0, ("baseline", jobs[0].run_id, jobs[0].baseline))
    first = rows[0][2]
    paired = {i: compare(first, s) for i, (_, _, s) in enumerate(rows) if i and s.tasks_digest == first.tasks_digest}
    p_values = dict(zip(paired, holm([c.p_value for c in paired.values()]), strict=True))
    lines = []
    for i, (name, run_id, scores) in enumerate(rows):
        changes = ["", "", ""]
        if i in paired:
            changes = [str(len(paired[i].fixes)), str(len(paired[i].regressions)), f"{p_values[i]:.2g}"]
        lines.append([name, *_figures(scores, changes), run_id])
    return markdown_table(HEAD, lines) + "\n"


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
