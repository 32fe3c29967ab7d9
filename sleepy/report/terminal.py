"""The report in the terminal: plain ASCII within 80 columns, coloured only if the terminal has colours."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sleepy.evaluate.stats import p_text, wilson
from sleepy.report import grades, samples, strata
from sleepy.report.cycles import HEAD, lines
from sleepy.report.stream import Measure, measures
from sleepy.report.summary import (
    ReportFiles,
    RunSummary,
    by_cluster,
    delivery,
    duration,
    effort,
    gate_reason,
    headline,
    limits,
    outcome_style,
    rows,
    warnings,
)
from sleepy.tables import terminal_table

if TYPE_CHECKING:
    from rich.console import Console


def show(run: RunSummary, files: ReportFiles, console: Console) -> None:
    """Print what came of the run, its figures, and where everything is."""
    from rich.text import Text

    def line(text: str = "", style: str = "") -> None:
        console.print(Text(text, style))

    c, names = run.comparison, list(run.evaluations)
    line(headline(run), outcome_style(run))
    line(f"gate {run.verdict.rule}: {gate_reason(run)}")
    line()
    line(run.name)
    line(
        f"{run.model}, {run.algorithm}, {len(run.before.results)} koans of {run.tasks.name} {run.tasks.version}", "dim"
    )
    line()
    # A third column leaves no room for its interval, which the page has.
    rates = [
        [r.name, *(_rate(k, r.total, i < 2) for i, k in enumerate(r.passed)), str(r.fixes), str(r.regressions)]
        for r in rows(run)
    ]
    console.print(terminal_table(["", *names, "+", "-"], rates))
    line("with Wilson 95 % intervals; + fixes and - regressions of the trained model", "dim")
    line()
    console.print(terminal_table(strata.head(run), strata.rows(run)))
    line("rustfix: rustc's own suggestions, applied without a model", "dim")
    if said := strata.unhelped(run):
        line(said)
    line()
    console.print(terminal_table(grades.HEAD, grades.rows({"rustfix": run.rustfix, **run.evaluations})))
    line("test blocks: the mean share that pass; unsafe: escapes that the fix does without", "dim")
    line()
    console.print(terminal_table(["", *names], effort(run)))
    line()
    low, high = (100 * bound for bound in c.interval)
    line(f"difference {100 * c.difference:+.1f} points, 95 % score interval {low:+.1f} to {high:+.1f}")
    changed = f"(fixes {len(c.fixes)}, regressions {len(c.regressions)})"
    line(f"{len(run.before.results)} koans: exact McNemar {p_text(c.p_value)}, mid-{p_text(c.mid_p)} {changed}")
    for units in by_cluster(run)[:1]:
        line(units.line)
    line(limits(run))
    for said in samples.lines(run.drawn):
        line(said)
    if run.delivered:
        line(delivery(run))
    if run.ability:
        line(run.ability.line)
    for said in run.held:
        line(said)
    if run.course:
        acc, bwt, fwt, forgetting = map(_measure, measures(run.course))
        line(f"stream of {len(run.course.steps)} tasks, accuracy in %, the rest in points, with 95 % intervals:")
        line(f"{acc}, {bwt}")
        line(f"{fwt}, {forgetting}")
    if run.history:
        line()
        console.print(terminal_table(HEAD, lines(run.history)))
    line()
    stages = ", ".join(f"{stage} {duration(seconds)}" for stage, seconds in run.seconds.items())
    line(f"stages: {stages}; total {duration(sum(run.seconds.values()))}")
    for warning in warnings(run):
        line(f"warning: {warning}", "yellow")
    line()
    places = {"report": files.page, "adapter": run.adapter and run.adapter.folder, "gguf": run.gguf and run.gguf.path}
    for name, place in (places | {"MLflow": run.ui_line}).items():
        if place:  # never wrapped, so that it can be copied
            console.print(Text(f"{name:8} {place}"), soft_wrap=True)


def _rate(passed: int, total: int, interval: bool) -> str:
    low, high = (f"{100 * bound:.0f}" for bound in wilson(passed, total))
    return f"{passed}/{total} {100 * passed / total:3.0f}%{f' {low:>2}-{high:<3}' if interval else ''}"


def _measure(m: Measure) -> str:
    return f"{m.name} {m.value} ({m.low} to {m.high})"
