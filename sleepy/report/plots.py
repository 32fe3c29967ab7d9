"""The report's pictures. Each function gives a matplotlib Figure; drawing needs no display and keeps no state.

Blue and vermilion are from the palette of Okabe and Ito, which colour-blind readers can tell apart; what a colour
says, a symbol or a position says too.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sleepy.artifacts import Scores
from sleepy.evaluate.stats import wilson
from sleepy.report.summary import Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, VERMILION, GREY, INK = "#0072B2", "#D55E00", "#A3AAB2", "#33393F"
MIN_SMOOTHED = 20  # with fewer steps a smoothed line would show a trend that is not known
WIDEST = 45  # cells in a line of the grid


def learning_curve(losses: Sequence[float]) -> Figure:
    """Loss at every step as dots, and their centred running mean where there are steps enough for one."""
    figure, axes = _figure(7.2, 3.6)
    n = len(losses)
    few = n < MIN_SMOOTHED
    axes.plot(
        range(1, n + 1),
        losses,
        "o-" if few else "o",
        color=GREY,
        markersize=6 if few else 3,
        linewidth=1,
        label="loss of the step's batch",
        gid="losses",
    )
    if not few:
        half = max(2, n // 20)
        axes.plot(
            range(1 + half, n + 1 - half),
            running_mean(losses, half),
            color=BLUE,
            linewidth=2,
            gid="smoothed",
            label=f"running mean of {2 * half + 1} steps",
        )
    axes.set_title(
        f"Training loss, {n} step{'' if n == 1 else 's'}" + (" (too few to smooth)" if few else ""),
        loc="left",
        color=INK,
    )
    axes.set_xlabel("step")
    axes.set_ylabel("loss")
    axes.xaxis.get_major_locator().set_params(integer=True)
    if few:
        axes.set_xticks(range(1, n + 1))
    axes.set_xlim(0.5 - 0.01 * n, 0.5 + 1.01 * n)
    if min(losses) >= 0:
        axes.set_ylim(0, 1.08 * max(losses) or 1)
    axes.grid(axis="y", color="#E3E6E9")
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    return figure


def running_mean(values: Sequence[float], half: int) -> list[float]:
    """Mean of each value and its `half` neighbours on either side; the `half` values at both ends have none."""
    width = 2 * half + 1
    return [sum(values[i : i + width]) / width for i in range(len(values) - width + 1)]


def families(rows: Sequence[Row]) -> Figure:
    """Pass rates before and after as bars with Wilson 95 % intervals, all tasks first, the counts beside them."""
    figure, axes = _figure(7.2, 1.5 + 0.62 * len(rows))
    for shift, colour, label, counts in (
        (-0.19, GREY, "baseline", [r.before for r in rows]),
        (0.19, BLUE, "trained", [r.after for r in rows]),
    ):
        places = [i + shift for i in range(len(rows))]
        rates = [100 * k / r.total for k, r in zip(counts, rows, strict=True)]
        bounds = [wilson(k, r.total) for k, r in zip(counts, rows, strict=True)]
        axes.barh(places, rates, 0.36, color=colour, label=label)
        axes.errorbar(
            rates,
            places,
            xerr=[
                [x - 100 * low for x, (low, _) in zip(rates, bounds, strict=True)],
                [100 * high - x for x, (_, high) in zip(rates, bounds, strict=True)],
            ],
            fmt="none",
            ecolor=INK,
            elinewidth=1.2,
            capsize=3,
            clip_on=False,
        )
        for place, k, row in zip(places, counts, rows, strict=True):
            axes.annotate(
                f"{k}/{row.total}",
                (1.01, place),
                xycoords=("axes fraction", "data"),
                va="center",
                fontsize=8,
                color=INK,
            )
    axes.axhline(0.5, color=INK, linewidth=0.6)
    axes.set_yticks(range(len(rows)), [r.name for r in rows])
    axes.set_ylim(len(rows) - 0.45, -0.55)
    axes.set_xlim(0, 100)
    axes.set_xlabel("passed, %, with Wilson 95 % intervals")
    axes.set_title("Pass rates by family", loc="left", color=INK)
    axes.grid(axis="x", color="#E3E6E9")
    axes.set_axisbelow(True)
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    return figure


@dataclass(frozen=True)
class Cell:
    """A task's place in the grid (columns and lines counted from 0) and its outcome, a key of OUTCOMES."""

    task: str
    column: int
    line: int
    outcome: str


# outcome -> words, fill, edge, symbol, symbol's colour
OUTCOMES = {
    "both": ("passed before and after", "#C9CED3", "#C9CED3", "", INK),
    "neither": ("failed before and after", "white", "#B4BABF", "", INK),
    "gained": ("gained", BLUE, BLUE, "+", "white"),
    "lost": ("lost", VERMILION, VERMILION, "−", "white"),
}


def outcome(before: bool, after: bool) -> str:
    """The key of OUTCOMES for a task."""
    return {(True, True): "both", (False, False): "neither", (False, True): "gained", (True, False): "lost"}[
        before, after
    ]


@dataclass(frozen=True)
class Grid:
    """Where every task stands: `levels` maps a level to its (first column, width), `lines` a family to its (first
    line, height)."""

    cells: tuple[Cell, ...]
    levels: dict[int, tuple[int, int]]
    lines: dict[str, tuple[int, int]]


def layout(before: Scores, after: Scores) -> Grid:
    """Families down, levels across, tasks in the set's order; a family with many tasks of a level takes more lines."""
    groups: dict[str, dict[int, list[tuple[str, str]]]] = {}
    for b, a in zip(before.results, after.results, strict=True):
        groups.setdefault(b.family, {}).setdefault(b.level, []).append((b.task, outcome(b.passed, a.passed)))
    most = {
        level: max(len(g.get(level, ())) for g in groups.values())
        for level in sorted({level for g in groups.values() for level in g})
    }
    shrink = max(1.0, sum(most.values()) / WIDEST)
    levels, column = {}, 0
    for level, count in most.items():
        levels[level] = (column, math.ceil(count / shrink))
        column += levels[level][1]
    cells, lines, line = [], {}, 0
    for family, by_level in groups.items():
        lines[family] = (line, max(math.ceil(len(tasks) / levels[level][1]) for level, tasks in by_level.items()))
        for level, tasks in by_level.items():
            start, width = levels[level]
            cells += [Cell(task, start + i % width, line + i // width, word) for i, (task, word) in enumerate(tasks)]
        line += lines[family][1]
    return Grid(tuple(cells), levels, lines)


def koans(before: Scores, after: Scores) -> Figure:
    """Every task's outcome against the baseline, as laid out by `layout`, with a legend that counts."""
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    grid = layout(before, after)
    gap = 0.6  # between levels, in cells

    def x_of(column: int) -> float:
        return column + gap * (sum(start <= column for start, _ in grid.levels.values()) - 1)

    width = x_of(sum(wide for _, wide in grid.levels.values()) - 1) + 1
    height = sum(high for _, high in grid.lines.values())
    size = min(0.42, 9.0 / width)  # inches a cell
    left = 0.3 + 0.085 * max(map(len, grid.lines))
    counts = {
        family: f"{passed} → {after.by_family()[family][0]} of {total}"
        for family, (passed, total) in before.by_family().items()
    }
    right = 0.3 + 0.085 * max(map(len, counts.values()))
    inches = max(left + size * width + right, 7.9), size * height + 1.3
    figure = Figure(inches)
    axes = figure.add_axes((left / inches[0], 0.55 / inches[1], size * width / inches[0], size * height / inches[1]))
    axes.set_axis_off()
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)
    for cell in grid.cells:
        _, fill, edge, symbol, ink = OUTCOMES[cell.outcome]
        x = x_of(cell.column)
        axes.add_patch(
            Rectangle((x + 0.06, cell.line + 0.06), 0.88, 0.88, facecolor=fill, edgecolor=edge, gid=cell.outcome)
        )
        if symbol:
            axes.text(
                x + 0.5,
                cell.line + 0.5,
                symbol,
                ha="center",
                va="center_baseline",
                color=ink,
                fontweight="bold",
                fontsize=52 * size,
            )
    for level, (start, wide) in grid.levels.items():
        axes.text((x_of(start) + x_of(start + wide - 1) + 1) / 2, -0.12, f"level {level}", ha="center", color=INK)
    for family, (line, high) in grid.lines.items():
        beside = {"va": "center", "color": INK, "textcoords": "offset points", "annotation_clip": False}
        axes.annotate(family, (0, line + high / 2), (-7, 0), ha="right", **beside)
        axes.annotate(counts[family], (width, line + high / 2), (7, 0), **beside)
        if line:
            axes.axhline(line, color=GREY, linewidth=1, zorder=0)
    n = len(grid.cells)
    figure.text(
        0.15 / inches[0],
        1 - 0.3 / inches[1],
        f"{n} koan{'' if n == 1 else 's'}, baseline against trained",
        color=INK,
        fontsize=12,
    )
    outcomes = Counter(cell.outcome for cell in grid.cells)
    figure.legend(
        [Rectangle((0, 0), 1, 1, facecolor=fill, edgecolor=edge) for _, fill, edge, _, _ in OUTCOMES.values()],
        [f"{symbol} {words}: {outcomes[word]}".strip() for word, (words, _, _, symbol, _) in OUTCOMES.items()],
        loc="lower center",
        ncols=4,
        frameon=False,
    )
    return figure


def _figure(width: float, height: float) -> tuple[Figure, Axes]:
    """A figure (inches) with one pair of axes, laid out without overlaps."""
    from matplotlib.figure import Figure

    figure = Figure((width, height), layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes
