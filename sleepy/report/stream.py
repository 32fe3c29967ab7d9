"""How a stream of tasks went: its figures in words, the pass rate after every step, and every koan at every step."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from sleepy.evaluate.continual import continual
from sleepy.figures import GREY, INK, VERMILION, legend, squares
from sleepy.report.plots import outcome, outcome_patches, rates_by_step, square
from sleepy.results import Course

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CURVE, HEATMAP = "Accuracy after each step", "Koans, step by step"
CELL = 0.22  # inches
HEAD = 1.5  # cells above a task's koans: a line and its name
LONGEST = 24  # letters of a koan's name

_WORDS = ["passed", "failed", "+ passed, failed a step before", "− failed, passed a step before"]


class Measure(NamedTuple):
    """A figure of a stream with its 95 % interval, as text ("+1.5", unit "points"), and what it means."""

    name: str
    value: str
    low: str
    high: str
    unit: str
    meaning: str


def measures(course: Course) -> list[Measure]:
    """ACC, BWT, FWT and mean forgetting, in this order."""
    found, measured = continual(course), []
    for name, meaning, interval in (
        ("ACC", "mean accuracy over all tasks after the last step", found.acc_interval),
        ("BWT", "effect of later steps on tasks already learned", found.bwt_interval),
        ("FWT", "effect of earlier steps on tasks not yet learned, compared with the base", found.fwt_interval),
        ("forgetting", "how far the tasks end below their best result after any step", found.forgetting_interval),
    ):
        sign, unit = "+" * name.endswith("WT"), "%" if name == "ACC" else "points"
        value, low, high = (f"{100 * x:{sign}z.1f}" for x in (found.summary()[name.lower()], *interval))
        measured.append(Measure(name, value, low, high, unit, meaning))
    return measured


def matrix(course: Course) -> tuple[list[str], list[list[str]]]:
    """Head and lines of R[i, j] in percent: the base and each step down, tasks across; bold: a task's own step."""
    found = continual(course)
    names = ["base", *(f"after {i}, {step}" for i, step in enumerate(course.steps, 1))]
    sizes = ["", *(str(len(group)) for group in course.groups)]
    lines = []
    for i, row in enumerate([found.base, *found.matrix]):
        cells = [f"**{100 * rate:.0f}**" if j == i - 1 else f"{100 * rate:.0f}" for j, rate in enumerate(row)]
        lines.append([names[i], sizes[i], *cells, f"{100 * sum(row) / len(row):.1f}"])
    return ["R, %", "its koans", *(f"task {i}" for i in range(1, len(names))), "mean"], lines


def curve(course: Course) -> Figure:
    """Share of passed koans after each step, the base as step 0: of all koans, and of those whose tasks were learned
    by then."""
    passed, koans = _outcomes(course), [koan for group in course.groups for koan in group]
    used = [(sum(row[koan] for koan in koans), len(koans)) for row in passed]
    title = f"{CURVE}, {len(koans)} koans of {len(course.steps)} tasks"
    figure, axes = rates_by_step(title, "step", used, "all koans, with 95 % intervals")
    axes.lines[0].set_marker("o")
    base = 100 * used[0][0] / len(koans)
    axes.axhline(base, color=GREY, linewidth=1.2, linestyle=(0, (5, 3)), label="base, all koans")
    seen = [[row[koan] for group in course.groups[:i] for koan in group] for i, row in enumerate(passed) if i]
    rates, label = [100 * sum(found) / len(found) for found in seen], "koans of the tasks learned so far"
    axes.plot(range(1, len(passed)), rates, "s--", color=VERMILION, linewidth=2, label=label, gid="seen")
    legend(figure, 3)
    return figure


def columns(sizes: list[int]) -> list[range]:
    """Tasks (with so many koans each) in two columns as even as their order allows; a single task has one column."""
    if len(sizes) < 2:
        return [range(len(sizes))]
    heights = [HEAD + size for size in sizes]
    cut = min(range(1, len(sizes)), key=lambda i: max(sum(heights[:i]), sum(heights[i:])))
    return [range(cut), range(cut, len(sizes))]


def heatmap(course: Course) -> Figure:
    """Every koan's outcome after each step, koans down in blocks by task, steps across; a frame marks the step that
    learned the task."""
    from matplotlib.patches import Rectangle

    sizes = [len(group) for group in course.groups]
    parts, steps = columns(sizes), len(course.steps)
    height = max(sum(HEAD + sizes[task] for task in part) for part in parts)
    figure, panels = squares(height, [_x(steps) + 1] * len(parts), CELL, labels=2.0 * len(parts))
    for axes, part in zip(panels, parts, strict=True):
        axes.set_xticks([_x(step) + 0.5 for step in range(steps + 1)], ["base", *map(str, range(1, steps + 1))])
        axes.tick_params(labelsize=8)
        names: dict[float, str] = {}
        for task in part:
            names |= _block(axes, course, task, HEAD * (task - part[0] + 1) + sum(sizes[part[0] : task]))
        axes.set_yticks([y + 0.5 for y in names], list(names.values()), fontsize=7.5)
    title = f"{HEATMAP}: {sum(sizes)} koans of {len(sizes)} tasks"
    panels[0].set_title(title, loc="left", color=INK, pad=10)
    frame = Rectangle((0, 0), 1, 1, facecolor="none", edgecolor=INK, linewidth=1.6)
    legend(figure, 3, [*outcome_patches(), frame], [*_WORDS, "the step that learned the task"])
    return figure


def _block(axes: Axes, course: Course, task: int, top: float) -> dict[float, str]:
    """Draw a task's name and its koans' squares from the line `top` on; returns each koan's line and name."""
    from matplotlib.patches import Rectangle

    axes.axhline(top - HEAD + 0.25, color=GREY, linewidth=1, gid="line")
    axes.text(0, top - 0.35, f"{task + 1}  {course.steps[task]}", color=INK, fontsize=9, weight="bold")
    passed, names = _outcomes(course), {}
    for line, koan in enumerate(course.groups[task]):
        short = koan.rsplit("/", 1)[-1]
        names[top + line] = short if len(short) <= LONGEST else short[: LONGEST - 1] + "…"
        for step, row in enumerate(passed):
            square(axes, _x(step), top + line, outcome(passed[max(step - 1, 0)][koan], row[koan]))
    size = len(course.groups[task])
    frame = {"facecolor": "none", "edgecolor": INK, "linewidth": 1.6, "gid": "learned", "clip_on": False}
    axes.add_patch(Rectangle((_x(task + 1), top), 1, size, **frame))
    return names


def _outcomes(course: Course) -> list[dict[str, bool]]:
    """Koan -> passed, for the base and after each step."""
    return [{r.task: r.passed for r in scores.results} for scores in (course.before, *course.after)]


def _x(step: int) -> float:
    """The column of a step's squares; the base stands a little apart."""
    return step + 0.4 * (step > 0)
