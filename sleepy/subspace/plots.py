"""The analysis in pictures, in the house style; chance is always grey."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from sleepy.figures import BLUE, GREY, INK, RULE, VERMILION, legend, panels, style
from sleepy.subspace.analysis import LEVELS, SIDES, percent
from sleepy.subspace.findings import Findings

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_TITLES = {"out": "B (out side)", "in": "A (in side)", "update": "dW = B A"}
_WIDE = 9.6  # inches


def spectrum(findings: Findings) -> Figure:
    """Share of the variance that the first directions explain, a panel for each layer type and side: as it is, without
    the mean, and the null."""
    import numpy as np

    kinds = findings.kinds
    figure, grid = panels(2, len(kinds), (2.0 + 1.55 * len(kinds), 5.2), sharex=True, sharey=True)
    for (row, column), axes in np.ndenumerate(grid):
        own, chance = findings.curve(f"{SIDES[row]}/explained", kinds[column])
        rest, _ = findings.curve(f"{SIDES[row]}/explained_without_mean", kinds[column])
        for curve, colour, line, label in (
            (own, BLUE, "-", "found"),
            (rest, VERMILION, (0, (4, 2)), "found, without the mean"),
            (chance, GREY, "-", "null"),
        ):
            order = 1 if label == "null" else 2
            values = [0.0, *(100 * curve)]
            axes.plot(values, color=colour, linestyle=line, linewidth=1.8, label=label, zorder=order)
        style(axes, f"{kinds[column]}, {'BA'[row]}", size=11)
        axes.set(xlim=(0, len(own)), ylim=(0, 101), yticks=[0, *(100 * v for v in LEVELS), 100])
        axes.xaxis.get_major_locator().set_params(nbins=3, integer=True)
    grid[1, len(kinds) // 2].set_xlabel("directions")
    for axes in grid[:, 0]:
        axes.set_ylabel("variance explained, %")
    legend(figure, 3, *grid[0, 0].get_legend_handles_labels())
    return figure


def angles(findings: Findings) -> Figure:
    """Mean principal angle of every layer by type, shallow layers to the left and deep ones to the right: between two
    halves, and between families and seeds where known. The null is grey."""
    rows = {"halves": "two halves of the adapters"} | {name: name for name in findings.sets.groups}
    kinds, deepest = findings.kinds, max(1, *(layer.depth for layer in findings.layers))
    places = [kinds.index(layer.kind) + 0.7 * (layer.depth / deepest - 0.5) for layer in findings.layers]
    figure, grid = panels(len(rows), 2, (_WIDE, 0.9 + 2.7 * len(rows)), sharex=True, sharey=True)
    for line, (name, words) in enumerate(rows.items()):
        for axes, side in zip(grid[line], SIDES, strict=True):
            found = [layer.numbers[f"{side}/angle/{name}"] for layer in findings.layers]
            for values, colour, label in (
                ([x[1:].mean() for x in found], GREY, "null"),
                ([x[0] for x in found], BLUE, "found, one dot per layer, shallow to deep"),
            ):
                axes.plot(places, values, "o", color=colour, markersize=3.2, label=label)
            style(axes, f"{_TITLES[side]}, between {words}", size=11)
            axes.set(xlim=(-0.5, len(kinds) - 0.5), ylim=(0, 92), yticks=[0, 30, 60, 90])
            axes.set_xticks(range(len(kinds)), kinds)
            axes.set_xticks([i + 0.5 for i in range(len(kinds) - 1)], minor=True)
            axes.grid(axis="x", which="minor", color=RULE)
            axes.tick_params(axis="x", which="both", length=0)
        grid[line, 0].set_ylabel("mean angle, degrees")
    legend(figure, 2, *grid[0, 0].get_legend_handles_labels())
    return figure


def held_out(findings: Findings) -> Figure:
    """Share of held-out adapters outside of the others' directions, by type and depth."""
    level = percent(findings.variance)
    return _map(
        findings,
        {title: f"{what}/held_out/{level}" for what, title in _TITLES.items()},
        f"held-out adapter outside of the others' directions ({level} % of their variance), % of its squared norm",
    )


def mean(findings: Findings) -> Figure:
    """What the others' mean, and their best combination, have of each dW, by type and depth."""
    titles = {
        "along the mean of the others": "update/mean",
        "in the best combination of the others": "update/combination",
    }
    return _map(findings, titles, "% of dW's squared norm")


def _map(findings: Findings, rows: dict[str, str], words: str) -> Figure:
    """A panel for each of `rows` (title -> number's name): types down, depth across, colour for the number in percent;
    the type's mean and its null are beside."""
    import numpy as np

    kinds, depths = findings.kinds, sorted({layer.depth for layer in findings.layers})
    figure, grid = panels(len(rows), 1, (_WIDE, 0.9 + len(rows) * (0.55 + 0.24 * len(kinds))), sharex=True)
    every = [100 * layer.numbers[name][0] for name in rows.values() for layer in findings.layers]
    low, high = 5 * math.floor(min(every) / 5), 5 * math.ceil(max(every) / 5)
    for axes, (title, name) in zip(grid[:, 0], rows.items(), strict=True):
        cells = np.full((len(kinds), len(depths)), np.nan)
        for layer in findings.layers:
            cells[kinds.index(layer.kind), depths.index(layer.depth)] = 100 * layer.numbers[name][0]
        drawn = axes.imshow(cells, vmin=low, vmax=max(high, low + 5), cmap="cividis", aspect="auto")
        style(axes, title, grid="", size=11)
        axes.spines[:].set_visible(False)
        axes.set_yticks(range(len(kinds)), kinds)
        step = max(1, len(depths) // 14)
        axes.set_xticks(range(0, len(depths), step), depths[::step])
        axes.tick_params(length=0)
        for i, kind in enumerate(kinds):
            found, nulls = findings.of(name, kind)
            text = f"{100 * found:.1f} (null {100 * sum(nulls) / len(nulls):.1f})"
            axes.annotate(text, (1.01, i), xycoords=("axes fraction", "data"), va="center", fontsize=9, color=INK)
    grid[-1, 0].set_xlabel("depth (block)")
    bar = figure.colorbar(drawn, ax=list(grid[:, 0]), location="bottom", aspect=50, shrink=0.8)
    bar.set_label(words)
    bar.outline.set_visible(False)
    return figure
