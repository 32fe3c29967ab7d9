"""A run's figures apart by how far rustc gives a repair away, beside what its suggestions pass without a model."""

from __future__ import annotations

from sleepy.evaluate.stats import p_text
from sleepy.evaluate.strata import by_stratum, compare_unhelped
from sleepy.exam.strata import stratum_of
from sleepy.report.summary import RunSummary

LEGEND = (
    "rustfix is what rustc's own suggestions pass, applied without a model. Strata: the prompt shows every line of a "
    "repair (shown); the suggestions repair it, but the prompt does not show them whole (suggested); neither."
)


def head(run: RunSummary) -> list[str]:
    """The columns of `rows`."""
    return ["stratum", "koans", "rustfix", *run.evaluations, "+", "-"]


def rows(run: RunSummary) -> list[list[str]]:
    """A row for all koans and one for each stratum: how many koans, how many of them rustc's suggestions and each
    evaluation pass, and the trained model's fixes and regressions."""
    columns, found = [run.rustfix, *run.evaluations.values()], []
    for stratum in ["all", *by_stratum(run.before)]:
        parts = [(scores if stratum == "all" else by_stratum(scores)[stratum]).results for scores in columns]
        passed = [sum(r.passed for r in part) for part in parts]
        changes = (run.comparison.fixes, run.comparison.regressions)
        changed = [sum(stratum in ("all", stratum_of(task)) for task in tasks) for tasks in changes]
        found.append([stratum, *map(str, (len(parts[0]), *passed, *changed))])
    return found


def unhelped(run: RunSummary) -> str:
    """The change on the koans where rustc does not help, in words; "" where none is known to be of that kind."""
    c = compare_unhelped(run.before, run.after)
    if c is None:
        return ""
    count = len(by_stratum(run.before)["neither"].results)
    gain = f"+{len(c.fixes)} -{len(c.regressions)}, {p_text(c.p_value)}"
    return f"Where rustc does not help ({count} of the koans): {gain}."
