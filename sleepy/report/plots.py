"""The pictures of any run: loss, pass rates by family, every koan's outcome; and what stream and cycles draw with.
Each function returns a matplotlib Figure."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from sleepy.evaluate.stats import wilson
from sleepy.figures import BLUE, GREY, INK, SKY, VERMILION, legend, panel, squares
from sleepy.report.summary import Row
from sleepy.results import Scores

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

MIN_SMOOTHED = 20  # with fewer steps a smoothed line would suggest a trend that is not known
WIDEST = 45  # squares in a line of the grid


def learning_curve(losses: Sequence[float]) -> Figure:
    """Loss at every step as dots, and their centred running mean if there are enough steps."""
    n = len(losses)
    few = n < MIN_SMOOTHED
    title = f"Training loss, {n} step{'' if n == 1 else 's'}{' (too few to smooth)' if few else ''}"
    figure, axes = panel(title, "step", "loss", height=3.6)
    line, size, label = ("o-", 6, "loss of the step's batch") if few else ("o", 3, "loss of the step's batch")
    axes.plot(range(1, n + 1), losses, line, color=GREY, markersize=size, linewidth=1, label=label, gid="losses")
    if few:
        axes.set_xticks(range(1, n + 1))
    else:
        half = max(2, n // 20)
        smooth, label = running_mean(losses, half), f"running mean of {2 * half + 1} steps"
        axes.plot(range(1 + half, n + 1 - half), smooth, color=BLUE, linewidth=2, gid="smoothed", label=label)
    axes.set_xlim(0.5 - 0.01 * n, 0.5 + 1.01 * n)
    if min(losses) >= 0:
        axes.set_ylim(0, 1.08 * max(losses) or 1)
    legend(figure, 2)
    return figure


def running_mean(values: Sequence[float], half: int) -> list[float]:
    """Mean of each value and its `half` neighbours on either side; the `half` values at both ends have none."""
    width = 2 * half + 1
    return [sum(values[i : i + width]) / width for i in range(len(values) - width + 1)]


def families(rows: Sequence[Row], evaluations: Sequence[str]) -> Figure:
    """Pass rates as bars with Wilson 95 % intervals, a bar for each evaluation; all koans first, the counts beside."""
    bars = len(evaluations)
    height = 1.5 + 0.31 * bars * len(rows)
    figure, axes = panel("Pass rates by family", "passed, %, with Wilson 95 % intervals", "", height, grid="x")
    for i, (name, colour) in enumerate(zip(evaluations, (GREY, BLUE, SKY), strict=False)):
        places = [line + 0.76 * ((i + 0.5) / bars - 0.5) for line in range(len(rows))]
        bounds = [wilson(row.passed[i], row.total) for row in rows]
        rates = [100 * row.passed[i] / row.total for row in rows]
        errors = [
            [rate - 100 * low for rate, (low, _) in zip(rates, bounds, strict=True)],
            [100 * high - rate for rate, (_, high) in zip(rates, bounds, strict=True)],
        ]
        axes.barh(places, rates, 0.72 / bars, color=colour, label=name)
        axes.errorbar(rates, places, xerr=errors, fmt="none", ecolor=INK, elinewidth=1.2, capsize=3, clip_on=False)
        for place, row in zip(places, rows, strict=True):
            beside = {"xycoords": ("axes fraction", "data"), "va": "center", "fontsize": 8, "color": INK}
            axes.annotate(f"{row.passed[i]}/{row.total}", (1.01, place), **beside)
    axes.axhline(0.5, color=INK, linewidth=0.6)
    axes.set_yticks(range(len(rows)), [row.name for row in rows])
    axes.set_ylim(len(rows) - 0.45, -0.55)
    axes.set_xlim(0, 100)
    legend(figure, bars)
    return figure


def rates_by_step(title: str, step: str, used: Sequence[tuple[int, int]], label: str) -> tuple[Figure, Axes]:
    """Pass rates (passed, total) from the base (step 0) on as a line labelled `label`, with Wilson 95 % intervals."""
    figure, axes = panel(title, step, "passed, %")
    steps, bounds = range(len(used)), [wilson(*counts) for counts in used]
    low, high = ([100 * bound[side] for bound in bounds] for side in (0, 1))
    axes.fill_between(steps, low, high, color=BLUE, alpha=0.13, linewidth=0)
    rates = [100 * passed / total for passed, total in used]
    axes.plot(steps, rates, color=BLUE, linewidth=2, label=label, gid="line")
    axes.set_xticks(steps, ["base", *(str(i) for i in steps[1:])])
    axes.set_xlim(-0.3, len(used) - 0.7)
    axes.set_ylim(-2, 102)
    return figure, axes


# outcome -> fill, edge, symbol, the symbol's colour
OUTCOMES = {
    "both": ("#C9CED3", "#C9CED3", "", INK),
    "neither": ("white", "#B4BABF", "", INK),
    "gained": (BLUE, BLUE, "+", "white"),
    "lost": (VERMILION, VERMILION, "−", "white"),
}
_WORDS = {"both": "passed before and after", "neither": "failed before and after", "gained": "gained", "lost": "lost"}


def outcome(before: bool, after: bool) -> str:
    """The key of OUTCOMES for a koan."""
    return ("both" if before else "gained") if after else ("lost" if before else "neither")


def square(axes: Axes, x: float, y: float, word: str, size: float = 10) -> None:
    """Draw an outcome at a cell's corner; `size`: points of the symbol."""
    from matplotlib.patches import Rectangle

    fill, edge, symbol, ink = OUTCOMES[word]
    axes.add_patch(Rectangle((x + 0.06, y + 0.06), 0.88, 0.88, facecolor=fill, edgecolor=edge, gid=word))
    if symbol:
        how = {"ha": "center", "va": "center_baseline", "fontweight": "bold", "fontsize": size}
        axes.text(x + 0.5, y + 0.5, symbol, color=ink, **how)


def outcome_patches() -> list[Rectangle]:
    """The squares of a legend, in the order of OUTCOMES."""
    from matplotlib.patches import Rectangle

    return [Rectangle((0, 0), 1, 1, facecolor=fill, edgecolor=edge) for fill, edge, _, _ in OUTCOMES.values()]


def koans(before: Scores, after: Scores) -> Figure:
    """Every koan's outcome against the baseline: families down, levels across, koans in the set's order, with a legend
    that counts. A family with many koans of a level takes more lines."""
    groups: dict[str, dict[int, list[str]]] = {}
    for b, a in zip(before.results, after.results, strict=True):
        groups.setdefault(b.family, {}).setdefault(b.level, []).append(outcome(b.passed, a.passed))
    levels = sorted({level for group in groups.values() for level in group})
    most = {level: max(len(group.get(level, ())) for group in groups.values()) for level in levels}
    shrink = max(1.0, sum(most.values()) / WIDEST)
    widths = {level: math.ceil(count / shrink) for level, count in most.items()}
    lines = [max(math.ceil(len(group[level]) / widths[level]) for level in group) for group in groups.values()]
    tops = [sum(lines[:i]) for i in range(len(lines))]
    cell = min(0.42, 9.0 / sum(widths.values()))  # inches
    figure, panels = squares(sum(lines), list(widths.values()), cell, labels=3.4)
    for axes, (level, width) in zip(panels, widths.items(), strict=True):
        axes.set_xticks([width / 2], [f"level {level}"])
        for top, group in zip(tops, groups.values(), strict=True):
            for i, word in enumerate(group.get(level, ())):
                square(axes, i % width, top + i // width, word, size=52 * cell)
            if top:
                axes.axhline(top, color=GREY, linewidth=1, zorder=0)
    middles = [top + high / 2 for top, high in zip(tops, lines, strict=True)]
    panels[0].set_yticks(middles, list(groups))
    counts = zip(before.by_family().values(), after.by_family().values(), strict=True)
    right = panels[-1].secondary_yaxis("right")
    right.set_yticks(middles, [f"{b} → {a} of {total}" for (b, total), (a, _) in counts])
    right.tick_params(length=0, labelcolor=INK)
    right.spines[:].set_visible(False)
    n, found = (
        len(before.results),
        Counter(word for group in groups.values() for words in group.values() for word in words),
    )
    title = f"{n} koan{'' if n == 1 else 's'}, baseline against trained"
    panels[0].set_title(title, loc="left", color=INK, pad=10)
    labels = [f"{OUTCOMES[word][2]} {words}: {found[word]}".strip() for word, words in _WORDS.items()]
    legend(figure, 4, outcome_patches(), labels)
    return figure
