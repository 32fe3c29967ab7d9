"""How a stream went: its figures in words, its accuracy after every step, and every koan at every step.

The pictures keep to the colours and symbols of `_plots`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sleepy.artifacts import Course
from sleepy.evaluate.continual import continual
from sleepy.evaluate.stats import wilson
from sleepy.report.plots import BLUE, GREY, INK, OUTCOMES, VERMILION, outcome

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CURVE, HEATMAP = "Accuracy after each step", "Koans, step by step"
CELL = 0.22  # inches
HEAD = 1.5  # cells above a task's koans: its name and the line over it
LONGEST = 24  # letters of a koan's name

WORDS = {
    "both": "passed",
    "neither": "failed",
    "gained": "+ passed, failed a step before",
    "lost": "− failed, passed a step before",
}


@dataclass(frozen=True)
class Measure:
    """A figure of a stream with its 95 % interval, as text ("+1.5", unit "points"), and what it means."""

    name: str
    value: str
    low: str
    high: str
    unit: str
    meaning: str


def measures(course: Course) -> list[Measure]:
    """ACC, BWT, FWT and mean forgetting, in this order."""
    found = continual(course)
    forgotten = found.summary()["forgetting"]
    rows = [
        ("ACC", "", "%", "mean accuracy of the tasks in the end", found.acc, found.acc_interval),
        ("BWT", "+", "points", "what later steps did to tasks learned before", found.bwt, found.bwt_interval),
        (
            "FWT",
            "+",
            "points",
            "what earlier steps did to tasks not yet learned, against the base",
            found.fwt,
            found.fwt_interval,
        ),
        (
            "forgetting",
            "",
            "points",
            "how far the tasks end below the best they were after any step",
            forgotten,
            found.forgetting_interval,
        ),
    ]
    out = []
    for name, sign, unit, meaning, number, interval in rows:
        value, low, high = (f"{100 * x:{sign}z.1f}" for x in (number, *interval))
        out.append(Measure(name, value, low, high, unit, meaning))
    return out


def matrix(course: Course) -> tuple[list[str], list[list[str]]]:
    """Head and lines of R[i, j] in percent: the base and each step down, tasks across; bold: a task's own step."""
    found = continual(course)
    numbers = [str(i + 1) for i in range(len(course.steps))]
    sizes = [len(group) for group in course.groups]
    names = ["base", *(f"after {i}, {step}" for i, step in zip(numbers, course.steps, strict=True))]
    lines = []
    for i, (name, row) in enumerate(zip(names, [found.base, *found.matrix], strict=True)):
        cells = [f"**{100 * rate:.0f}**" if j == i - 1 else f"{100 * rate:.0f}" for j, rate in enumerate(row)]
        lines.append([name, str(sizes[i - 1]) if i else "", *cells, f"{100 * sum(row) / len(row):.1f}"])
    return ["R, %", "its koans", *(f"task {i}" for i in numbers), "mean"], lines


def curve(course: Course) -> Figure:
    """Share of passed koans after each step, the base as step 0: of all koans (with Wilson 95 % intervals), and of
    those whose tasks were learned by then."""
    from matplotlib.figure import Figure

    figure = Figure((7.2, 3.8), layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    passed = [{r.task: r.passed for r in scores.results} for scores in (course.before, *course.after)]
    steps, koans = range(len(passed)), [task for group in course.groups for task in group]
    counts = [sum(row[task] for task in koans) for row in passed]
    rates = [100 * count / len(koans) for count in counts]
    bounds = [wilson(count, len(koans)) for count in counts]
    axes.fill_between(
        steps, [100 * low for low, _ in bounds], [100 * high for _, high in bounds], color=BLUE, alpha=0.13, linewidth=0
    )
    axes.axhline(rates[0], color=GREY, linewidth=1.2, linestyle=(0, (5, 3)), label="base, all koans")
    axes.plot(steps, rates, "o-", color=BLUE, linewidth=2, label="all koans, with 95 % intervals", gid="all")
    seen = [
        [row[task] for group in course.groups[:i] for task in group] for i, row in enumerate(passed[1:], 1)
    ]  # of a step: the outcomes of the koans whose tasks it and the steps before have learned
    axes.plot(
        steps[1:],
        [100 * sum(outcomes) / len(outcomes) for outcomes in seen],
        "s--",
        color=VERMILION,
        linewidth=2,
        label="koans of the tasks learned so far",
        gid="seen",
    )
    axes.set_xticks(steps, ["base", *map(str, steps[1:])])
    axes.set_xlim(-0.3, len(course.steps) + 0.3)
    axes.set_ylim(-2, 102)
    axes.set_xlabel("step")
    axes.set_ylabel("passed, %")
    axes.set_title(f"{CURVE}, {len(koans)} koans of {len(course.steps)} tasks", loc="left", color=INK)
    axes.grid(axis="y", color="#E3E6E9")
    axes.set_axisbelow(True)
    figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    return figure


def columns(sizes: list[int]) -> list[range]:
    """Tasks (of so many koans each) side by side in two columns as even as their order allows; one task: one column."""
    if len(sizes) < 2:
        return [range(len(sizes))]
    heights = [HEAD + size for size in sizes]
    cut = min(range(1, len(sizes)), key=lambda i: max(sum(heights[:i]), sum(heights[i:])))
    return [range(cut), range(cut, len(sizes))]


def heatmap(course: Course) -> Figure:
    """Every koan's outcome after each step, koans down in blocks of a task, steps across; a frame marks the step that
    learned the task."""
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    sizes = [len(group) for group in course.groups]
    names = {task: _short(task) for group in course.groups for task in group}
    left = 0.2 + 0.07 * max(map(len, names.values()))  # inches, as all lengths here
    wide = max(left + CELL * (len(course.after) + 1.4), 0.3 + 0.092 * max(len(f"10  {step}") for step in course.steps))
    parts, gap, top = columns(sizes), 0.45, 0.75
    high = CELL * max(sum(HEAD + sizes[i] for i in part) for part in parts)
    width = max(0.3 + wide * len(parts) + gap * (len(parts) - 1), 7.2)
    height = top + high + 0.85
    figure = Figure((width, height))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)
    for number, part in enumerate(parts):
        x, y = 0.15 + number * (wide + gap), top
        for step in range(len(course.after) + 1):
            place = x + left + _shift(step) + CELL / 2
            axes.text(place, y - 0.06, str(step or "base"), ha="center", fontsize=8, color=INK)
        for task in part:
            _block(axes, course, task, names, (x, y, wide, left))
            y += CELL * (HEAD + sizes[task])
    axes.text(0.15, 0.3, f"{HEATMAP}: {len(names)} koans of {len(sizes)} tasks", color=INK, fontsize=12)
    patches = [Rectangle((0, 0), 1, 1, facecolor=OUTCOMES[word][1], edgecolor=OUTCOMES[word][2]) for word in WORDS]
    figure.legend(
        [*patches, Rectangle((0, 0), 1, 1, facecolor="none", edgecolor=INK, linewidth=1.6)],
        [*WORDS.values(), "the step that learned the task"],
        loc="lower center",
        ncols=3,
        frameon=False,
        fontsize=9,
    )
    return figure


def _block(axes: Axes, course: Course, task: int, names: dict[str, str], at: tuple[float, float, float, float]) -> None:
    """A task's name and koans with their cells; `at`: the block's left, top and width, and how far in its cells
    begin."""
    from matplotlib.patches import Rectangle

    x, y, wide, left = at
    axes.plot([x, x + wide], [y + 0.06] * 2, color=GREY, linewidth=1, gid="line")
    axes.text(x, y + CELL * (HEAD - 0.35), f"{task + 1}  {course.steps[task]}", color=INK, fontsize=9, weight="bold")
    y += CELL * HEAD
    passed = [{r.task: r.passed for r in scores.results} for scores in (course.before, *course.after)]
    for line, koan in enumerate(course.groups[task]):
        middle = y + CELL * (line + 0.5)
        axes.text(x + left - 0.08, middle, names[koan], ha="right", va="center", fontsize=7.5, color=INK)
        for step, row in enumerate(passed):
            word = outcome(passed[max(step - 1, 0)][koan], row[koan])
            _, fill, edge, symbol, ink = OUTCOMES[word]
            corner = x + left + _shift(step) + 0.06 * CELL, y + CELL * (line + 0.06)
            axes.add_patch(Rectangle(corner, 0.88 * CELL, 0.88 * CELL, facecolor=fill, edgecolor=edge, gid=word))
            if symbol:
                axes.text(
                    x + left + _shift(step) + CELL / 2,
                    middle,
                    symbol,
                    ha="center",
                    va="center_baseline",
                    color=ink,
                    fontsize=10,
                    weight="bold",
                )
    axes.add_patch(
        Rectangle(
            (x + left + _shift(task + 1), y),
            CELL,
            CELL * len(course.groups[task]),
            facecolor="none",
            edgecolor=INK,
            linewidth=1.6,
            gid="learned",
        )
    )


def _shift(step: int) -> float:
    """Inches from the base's cell to a step's; the base stands a little apart."""
    return CELL * (step + 0.4 * (step > 0))


def _short(task: str) -> str:
    """The last part of a koan's id, cut where it is too long."""
    name = task.rsplit("/", 1)[-1]
    return name if len(name) <= LONGEST else name[: LONGEST - 1] + "…"
