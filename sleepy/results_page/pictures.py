"""The pictures of the results page. Each function returns a matplotlib Figure."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sleepy.figures import BLUE, GREY, INK, SKY, VERMILION, legend, panel, panels, style
from sleepy.results_page.differences import Difference, Effect
from sleepy.results_page.rows import Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LONGEST = 46  # letters of a row's name
LINE = 0.27  # inches
WIDE = 8.4  # inches
_CURVES = ((BLUE, "-"), (VERMILION, "--"), (SKY, "-."), (INK, ":"), (BLUE, ":"), (VERMILION, "-"))


@dataclass(frozen=True)
class Point:
    """A row in a picture of gain against a cost: its number, its gain in points, and the cost."""

    number: int
    gain: float
    cost: float


def forest(lines: Sequence[tuple[str, Difference]]) -> Figure:
    """Differences with their intervals, a line each, in the given order. A dot is filled where chance would not explain
    the difference; small ticks are the seeds of a row that has several."""
    figure, axes = panels(1, 1, (WIDE, 0.75 + LINE * len(lines)))
    ax = axes[0, 0]
    _bare(ax, len(lines), [_short(name) for name, _ in lines])
    ax.axvline(0, color=INK, linewidth=0.9)
    for x, word in ((46, "points"), (128, "95 %"), (166, "gained"), (194, "lost")):
        _beside(ax, x, -0.95, word, ha="right", size=8)
    for y, (_, d) in enumerate(lines):
        colour = GREY if not d.beyond_chance else BLUE if d.value > 0 else VERMILION
        _interval(ax, y, d.value, d.interval, colour, filled=d.beyond_chance)
        if len(d.of_seeds) > 1:
            ax.plot([100 * v for v in d.of_seeds], [y + 0.3] * len(d.of_seeds), "|", color=INK, markersize=4)
        _beside(ax, 46, y, signed(d.value), ha="right", weight="bold")
        _beside(ax, 128, y, f"{signed(d.interval[0])} to {signed(d.interval[1])}", ha="right")
        _beside(ax, 166, y, f"+{few(d.fixes)}", ha="right")
        _beside(ax, 194, y, f"−{few(d.regressions)}", ha="right")
    ax.set_xlabel("difference in passed koans, points, with 95 % intervals", color=INK)
    return figure


def effects(found: Mapping[str, Sequence[Effect]]) -> Figure:
    """What each value of each axis adds to the mean of all rows, in points."""
    labels = [(axis, e) for axis, values in found.items() for e in values]
    figure, axes = panels(1, 1, (WIDE, 0.75 + LINE * (len(labels) + len(found))))
    ax, names, y = axes[0, 0], dict[float, str](), 0.0
    ax.axvline(0, color=INK, linewidth=0.9)
    for axis, values in found.items():
        ax.annotate(axis, (0, y), xycoords=("axes fraction", "data"), xytext=(-8, 0), textcoords="offset points",
                    ha="right", va="center", color=INK, fontweight="bold", fontsize=9)  # fmt: skip
        for effect in values:
            y += 1
            names[y] = _short(effect.value)
            sure = not effect.interval[0] <= 0 <= effect.interval[1]
            colour = GREY if not sure else BLUE if effect.effect > 0 else VERMILION
            _interval(ax, y, effect.effect, effect.interval, colour, filled=sure)
            _beside(ax, 46, y, signed(effect.effect), ha="right", weight="bold")
            rows = f"{effect.rows} row{'' if effect.rows == 1 else 's'}, mean {signed(effect.mean)}"
            _beside(ax, 62, y, rows)
        y += 1
    _bare(ax, int(y), list(names.values()), list(names))
    ax.set_xlabel("effect on the difference, points, against the mean of all rows", color=INK)
    return figure


def costs(of: Mapping[str, Sequence[Point]]) -> Figure:
    """Gain against each cost, side by side; a dot is a row, with its number."""
    figure, axes = panels(1, len(of), (3.7 * len(of), 3.0), sharey=True)
    for ax, (name, points) in zip(axes[0], of.items(), strict=True):
        style(ax, "", grid="both")
        ax.axhline(0, color=INK, linewidth=0.9)
        ax.plot([p.cost for p in points], [p.gain for p in points], "o", color=BLUE, markersize=6, alpha=0.85)
        seen = set[tuple[float, float]]()
        for p in points:
            if (p.cost, p.gain) not in seen:  # rows in one place would write over each other
                together = [str(q.number) for q in points if (q.cost, q.gain) == (p.cost, p.gain)]
                text = " ".join(together[:3]) + (" …" if len(together) > 3 else "")
                ax.annotate(text, (p.cost, p.gain), (5, 4), textcoords="offset points", fontsize=8, color=INK)
            seen.add((p.cost, p.gain))
        ax.set_xlabel(name, color=INK)
        ax.margins(0.14)
        _quiet(ax)
    axes[0, 0].set_ylabel("gain, points", color=INK)
    low, high = axes[0, 0].get_ylim()
    axes[0, 0].set_ylim(min(low, -3), max(high, 3))
    return figure


def curves(lines: Sequence[tuple[str, Row]]) -> Figure:
    """The mean accuracy over all tasks of a stream, from the base on, after each step; a line for each row."""
    figure, ax = panel("", "step", "mean accuracy over all tasks, %", height=3.6)
    longest = 0
    for i, (name, row) in enumerate(lines):
        streams = [job.stream for job in row.jobs if job.stream]
        by_seed = [[100 * statistics.mean(rates) for rates in (s["base"], *s["matrix"])] for s in streams]
        means = [statistics.mean(values) for values in zip(*by_seed, strict=True)]
        longest = max(longest, len(means))
        named = i < len(_CURVES)
        colour, dashes = _CURVES[i] if named else (GREY, "-")
        how = {"marker": "o", "markersize": 4, "linewidth": 2} if named else {"linewidth": 1}
        ax.plot(range(len(means)), means, dashes, color=colour, label=_short(name) if named else None, **how)
    ax.set_xticks(range(longest), ["base", *map(str, range(1, longest))])
    ax.set_ylim(-2, 102)
    _quiet(ax)
    legend(figure, 2)
    return figure


def _bare(ax: Axes, lines: int, names: Sequence[str], places: Sequence[float] | None = None) -> None:
    """Lines counted from the top, with their names on the left and no frame."""
    style(ax, "", grid="x")
    ax.spines[["left", "bottom"]].set_visible(False)
    ax.set_ylim(lines - 0.4, -0.6)
    ax.set_yticks(range(lines) if places is None else places, names, fontsize=9, color=INK)
    ax.margins(x=0.04)
    _quiet(ax)


def _quiet(ax: Axes) -> None:
    ax.tick_params(length=0, labelcolor=INK, labelsize=9)
    ax.xaxis.label.set_size(9)
    ax.yaxis.label.set_size(9)
    ax.spines[:].set_color(GREY)


def _interval(ax: Axes, y: float, value: float, bounds: tuple[float, float], colour: str, filled: bool) -> None:
    """A dot and its interval; fractions, drawn as points."""
    ax.plot([100 * b for b in bounds], [y, y], color=colour, linewidth=2, solid_capstyle="round")
    ax.plot(100 * value, y, "o", color=colour, markersize=7, markerfacecolor=colour if filled else "white")


def _beside(ax: Axes, x: float, y: float, text: str, size: float = 9, **how: Any) -> None:
    """Text to the right of the panel, x points from its edge."""
    ax.annotate(
        text, (1, y), (x, 0), xycoords=("axes fraction", "data"), textcoords="offset points", va="center",
        fontsize=size, color=INK, **how,
    )  # fmt: skip


def signed(fraction: float) -> str:
    """A difference in points: "+7.1", "−0.5", "0.0"."""
    text = f"{100 * fraction:+z.1f}"
    return "0.0" if text == "+0.0" else text.replace("-", "−")


def few(count: float) -> str:
    """A mean of counts: "8", "7.7"."""
    return f"{round(count, 1):g}"


def _short(name: str) -> str:
    return name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…"
