"""The parts of the results page that are pictures or prose: each function returns HTML, "" where there is nothing."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from html import escape

from sleepy.results_page import pictures
from sleepy.results_page.differences import Difference, Draws, effects, forgetting
from sleepy.results_page.jobs import Found
from sleepy.results_page.rows import Row
from sleepy.results_page.svg import Pictures
from sleepy.results_page.table import stream_tables
from sleepy.results_page.words import adapter_bytes, seconds, sentence

Differences = Sequence[Difference | None]

FOREST = (
    "Each row's pass rate less that of what it was compared with, koan by koan. A dot is filled where chance would not "
    "explain the difference, the number of rows considered. Small ticks are single seeds."
)
TABLE = "Click a heading to sort. The arrow at the end of a line shows how it was made and the command that repeats it."
KOANS = (
    "Columns are the rows above, by number. Choose a square to read the program, the answers and the compiler's words."
)
EFFECTS = "The mean of all rows with a value, less the mean of all rows, the other axes averaged."
COSTS = "What a gain costs. Dots are rows, by number; up and to the left is better."
STREAMS = (
    "The share of each task's koans that passed after each step of the stream, in percent; tasks across, steps down."
)
NOTES = (
    "Intervals of one run are Tango's score intervals for paired outcomes. p holds for all rows on the same koans "
    "together (step-down max-T; of a single row it is McNemar's exact test). A row of several seeds has the mean, the "
    "standard deviation between seeds, and an interval by bootstrap over seeds, patterns and koans, which is rough "
    "with two or three seeds. The intervals of effects come from the same bootstrap."
)


def section(name: str, title: str, about: str, content: str) -> str:
    """A part of the page; nothing where it has no content."""
    if not content:
        return ""
    return (
        f'<section id="{name}" aria-labelledby="{name}-title"><h2 id="{name}-title">{title}</h2>'
        f'<p class="about">{escape(about)}</p>\n{content}</section>'
    )


def header(title: str, rows: Sequence[Row], found: Differences, noticed: float, without: Found) -> str:
    """Title, the sentence, and what is not shown."""
    left = "".join(f"<li>{escape(line)}</li>" for line in without.without)
    runs = len(without.without)
    missing = (
        f'<details class="missing"><summary>{runs} run{"" if runs == 1 else "s"} without a result</summary>'
        f"<ul>{left}</ul></details>"
        if left
        else ""
    )
    return (
        f'<header><p class="eyebrow">sleepy · results</p><h1>{escape(title).replace(",", ",<wbr>")}</h1>'
        f'<p class="lead">{escape(sentence(rows, found, noticed))}</p>{missing}</header>'
    )


def forest(drawn: Pictures, rows: Sequence[Row], found: Differences) -> str:
    """The forest plot."""
    lines = [(f"{i}  {row.label}", d) for i, (row, d) in enumerate(zip(rows, found, strict=True), 1) if d]
    if not lines:
        return ""
    picture = drawn.inline(partial(pictures.forest, lines), "Differences with 95 % intervals, by row, the best first")
    return section("differences", "Differences", FOREST, picture)


def of_values(drawn: Pictures, rows: Sequence[Row], found: Differences, draws: Draws) -> str:
    """The effect of each swept value; nothing where every value is one row, which the forest shows."""
    of = effects(rows, found, draws)
    if all(effect.rows == 1 for values in of.values() for effect in values):
        return ""
    picture = drawn.inline(partial(pictures.effects, of), "Effect of each swept value with 95 % intervals")
    return section("effects", "What each value does", EFFECTS, picture)


def against_costs(drawn: Pictures, rows: Sequence[Row], found: Differences) -> str:
    """Gain against forgetting, seconds and the adapter's size, where they are known and not all the same."""
    of: dict[str, list[pictures.Point]] = {}
    for number, (row, d) in enumerate(zip(rows, found, strict=True), 1):
        lost, size = forgetting(row), adapter_bytes(row)
        costs = {
            "forgetting, % of what passed before": None if lost is None else 100 * lost,
            "seconds": seconds(row),
            "size of the adapter, MB": None if size is None else size / 1e6,
        }
        for name, cost in costs.items():
            if d and cost is not None:
                of.setdefault(name, []).append(pictures.Point(number, 100 * d.value, cost))
    of = {name: points for name, points in of.items() if len({p.cost for p in points}) > 1}
    if not of:
        return ""
    picture = drawn.inline(partial(pictures.costs, of), f"Gain against {', '.join(of)}")
    return section("costs", "What it costs", COSTS, picture)


def streams(drawn: Pictures, rows: Sequence[Row]) -> str:
    """Curves and matrices of streams."""
    learned = [(f"{i}  {row.label}", row) for i, row in enumerate(rows, 1) if all(job.stream for job in row.jobs)]
    if not learned:
        return ""
    picture = drawn.inline(partial(pictures.curves, learned), "Mean accuracy after each step of the stream, by row")
    return section("streams", "Streams", STREAMS, f'{picture}<div class="streams">{"".join(stream_tables(rows))}</div>')
