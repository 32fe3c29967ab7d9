"""The report as a table in the terminal: plain ASCII within 80 columns, coloured only where the terminal is one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sleepy.evaluate.stats import p_text, wilson
from sleepy.report.cycles_page import HEAD, lines
from sleepy.report.stream_page import Measure, measures
from sleepy.report.summary import ReportFiles, Row, RunSummary, duration, effort, limits, rows

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table


def show(run: RunSummary, files: ReportFiles, console: Console) -> None:
    """Print the run's figures, the gate's verdict, and where everything is."""
    from rich.text import Text

    def line(text: str, style: str = "") -> None:
        console.print(Text(text, style))

    c = run.comparison
    line("")
    line(run.name, "bold")
    line(f"{run.model}, {run.algorithm}, {len(run.before.results)} tasks of {run.tasks.name} {run.tasks.version}")
    line("")
    console.print(_rates(rows(run)))
    line("passed of all tasks, with Wilson 95 % intervals; + fixes, - regressions", "dim")
    line("")
    console.print(_effort(run))
    line("")
    line(
        f"difference {100 * c.difference:+.1f} points, 95 % bootstrap interval {100 * c.interval[0]:+.1f} to "
        f"{100 * c.interval[1]:+.1f}"
    )
    line(f"exact McNemar {p_text(c.p_value)} (fixes {len(c.fixes)}, regressions {len(c.regressions)})")
    line(limits(run))
    if run.course:
        acc, bwt, fwt, forgetting = map(_measure, measures(run.course))
        line(f"stream of {len(run.course.steps)}: {acc}, {bwt}")
        line(f"{fwt}, {forgetting} points; 95 % in ()")
    if run.history:
        table = _table(HEAD[0], *HEAD[1:])
        for row in lines(run.history):
            table.add_row(*row)
        console.print(table)
        line("")
    line(
        "stages: "
        + ", ".join(f"{stage} {duration(s)}" for stage, s in run.seconds.items())
        + f"; in all {duration(sum(run.seconds.values()))}"
    )
    for warning in run.warnings:
        line(f"warning: {warning}", "yellow")
    line("")
    line(f"{run.verdict.reason} [gate {run.verdict.rule}]", "bold green" if run.verdict.promoted else "bold red")
    line("")
    places = [("report", str(files.page))]
    if run.adapter:
        places.append(("adapter", str(run.adapter.folder)))
    if run.gguf:
        places.append(("gguf", str(run.gguf.path)))
    for name, place in [*places, ("MLflow", run.ui_line)]:
        # Never wrapped, so that it can be copied.
        console.print(Text(f"{name:8} {place}"), soft_wrap=True)


def _rates(table_rows: list[Row]) -> Table:
    table = _table("", "baseline", "trained", "+", "-")
    for row in table_rows:
        table.add_row(
            row.name, _rate(row.before, row.total), _rate(row.after, row.total), str(row.fixes), str(row.regressions)
        )
    return table


def _rate(passed: int, total: int) -> str:
    low, high = (f"{100 * bound:.0f}" for bound in wilson(passed, total))
    return f"{passed}/{total} {100 * passed / total:3.0f}% {low:>2}-{high:<3}"


def _measure(m: Measure) -> str:
    return f"{m.name} {m.value}{' %' if m.unit == '%' else ''} ({m.low} to {m.high})"


def _effort(run: RunSummary) -> Table:
    table = _table("", "baseline", "trained")
    for row in effort(run):
        table.add_row(*row)
    return table


def _table(first: str, *numbers: str) -> Table:
    """A table without lines: a column of words, then columns of numbers."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(first, overflow="fold")
    for name in numbers:
        table.add_column(name, justify="right", no_wrap=True)
    return table
