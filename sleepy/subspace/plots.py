"""The analysis in pictures: colours of the report's, chance always in grey."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from sleepy.report.plots import BLUE, GREY, INK, VERMILION
from sleepy.subspace.analysis import LEVELS, SIDES, percent
from sleepy.subspace.findings import Findings

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TITLES = {"out": "B (out side)", "in": "A (in side)", "update": "dW = B A"}


def spectrum(findings: Findings) -> Figure:
    """Share of the variance that the first directions explain, a panel a layer type and side: as it is, without the
    mean, and the null."""
    from matplotlib.figure import Figure

    kinds = findings.kinds
    figure = Figure((2.0 + 1.55 * len(kinds), 5.2), layout="constrained")
    grid = figure.subplots(2, len(kinds), sharex=True, sharey=True, squeeze=False)
    for column, kind in enumerate(kinds):
        for row, side in enumerate(SIDES):
            axes: Axes = grid[row, column]
            own, chance = findings.curves[kind][f"{side}/explained"]
            rest, _ = findings.curves[kind][f"{side}/explained_without_mean"]
            steps = range(len(own) + 1)
            for curve, colour, style, label in (
                (chance, GREY, "-", "null"),
                (rest, VERMILION, (0, (4, 2)), "found, without the mean"),
                (own, BLUE, "-", "found"),
            ):
                line = [0.0, *(100 * curve)]
                axes.plot(steps, line, color=colour, linestyle=style, linewidth=1.8, label=label, gid=label)
            axes.set_yticks([0, *(100 * v for v in LEVELS), 100])
            _bare(axes, f"{kind}, {'BA'[row]}")
            axes.grid(axis="y", color="#E3E6E9")
            axes.set_xlim(0, len(own))
            axes.set_ylim(0, 101)
            axes.xaxis.get_major_locator().set_params(nbins=3, integer=True)
            if row and column == len(kinds) // 2:
                axes.set_xlabel("directions")
            if not column:
                axes.set_ylabel("variance explained, %")
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles[::-1], labels[::-1], loc="outside lower center", ncols=len(labels), frameon=False)
    return figure


def angles(findings: Findings) -> Figure:
    """Mean principal angle of every layer by type: between two halves, and between families and seeds where known."""
    names = ["halves", *findings.plan.groups]
    titles = {"halves": "two halves of the adapters"}
    return _dots(findings, {f"angle/{name}": f"between {titles.get(name, name)}" for name in names})


def held_out(findings: Findings) -> Figure:
    """Share of held-out adapters outside of the others' directions, by type and depth."""
    level = percent(findings.plan.variance)
    return _map(
        findings,
        {what: f"{what}/held_out/{level}" for what in (*SIDES, "update")},
        f"held-out adapter outside of the others' directions ({level} % of their variance), % of its squared norm",
    )


def mean(findings: Findings) -> Figure:
    """What the others' mean, and their best combination, have of each dW, by type and depth."""
    titles = {
        "along the mean of the others": "update/mean",
        "in the best combination of the others": "update/combination",
    }
    return _map(findings, titles, "% of dW's squared norm")


def _dots(findings: Findings, rows: dict[str, str]) -> Figure:
    """A row of panels for each of `rows` (end of a number's name -> title): types across, a dot a layer, from shallow
    (left) to deep, and its null in grey."""
    from matplotlib.figure import Figure

    figure = Figure((9.6, 0.9 + 2.7 * len(rows)), layout="constrained")
    grid = figure.subplots(len(rows), 2, sharex=True, sharey=True, squeeze=False)
    deepest = max(1, *(layer.depth for layer in findings.layers))
    for line, (name, words) in enumerate(rows.items()):
        for column, side in enumerate(SIDES):
            axes: Axes = grid[line, column]
            places = [findings.kinds.index(la.kind) + 0.7 * (la.depth / deepest - 0.5) for la in findings.layers]
            for values, colour, label in (
                ([_mean_of(la.nulls, f"{side}/{name}") for la in findings.layers], GREY, "null"),
                ([la.found[f"{side}/{name}"] for la in findings.layers], BLUE, "found"),
            ):
                axes.plot(places, values, "o", color=colour, markersize=3.2, label=label, gid=label)
            _bare(axes, f"{TITLES[side]}, {words}")
            axes.set_xticks(range(len(findings.kinds)), findings.kinds)
            axes.set_xticks([i + 0.5 for i in range(len(findings.kinds) - 1)], minor=True)
            axes.grid(axis="x", which="minor", color="#E3E6E9")
            axes.tick_params(axis="x", which="both", length=0)
            axes.set_ylim(0, 92)
            axes.set_yticks([0, 30, 60, 90])
            axes.grid(axis="y", color="#E3E6E9")
            if not column:
                axes.set_ylabel("mean angle, degrees")
    handles, labels = grid[0, 0].get_legend_handles_labels()
    labels = [f"{label}, a dot a layer, shallow to deep" if label == "found" else label for label in labels]
    figure.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False)
    return figure


def _map(findings: Findings, panels: dict[str, str], words: str) -> Figure:
    """A panel for each of `panels` (title, or side -> number's name): types down, depth across, colour for the number
    in percent; the type's mean and its null stand beside."""
    import numpy as np
    from matplotlib.figure import Figure

    kinds, depths = findings.kinds, sorted({layer.depth for layer in findings.layers})
    figure = Figure((9.6, 0.9 + len(panels) * (0.55 + 0.24 * len(kinds))), layout="constrained")
    grid = figure.subplots(len(panels), 1, sharex=True, squeeze=False)
    every = [100 * layer.found[name] for name in panels.values() for layer in findings.layers]
    low, high = 5 * math.floor(min(every) / 5), 5 * math.ceil(max(every) / 5)
    drawn = None
    for axes, (title, name) in zip(grid[:, 0], panels.items(), strict=True):
        cells = np.full((len(kinds), len(depths)), np.nan)
        for layer in findings.layers:
            cells[kinds.index(layer.kind), depths.index(layer.depth)] = 100 * layer.found[name]
        drawn = axes.imshow(cells, vmin=low, vmax=max(high, low + 5), cmap="cividis", aspect="auto")
        _bare(axes, TITLES.get(title, title))
        axes.set_yticks(range(len(kinds)), kinds)
        step = max(1, len(depths) // 14)
        axes.set_xticks(range(0, len(depths), step), depths[::step])
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        beside: dict[str, Any] = {"xycoords": ("axes fraction", "data"), "va": "center", "fontsize": 9, "color": INK}
        for i, kind in enumerate(kinds):
            text = f"{100 * findings.of(name, kind):.1f} (null {100 * findings.null(name, kind):.1f})"
            axes.annotate(text, (1.01, i), **beside)
    grid[-1, 0].set_xlabel("depth (block)")
    bar = figure.colorbar(drawn, ax=list(grid[:, 0]), location="bottom", aspect=50, shrink=0.8)
    bar.set_label(words)
    bar.outline.set_visible(False)
    return figure


def _mean_of(draws: tuple[dict[str, float], ...], name: str) -> float:
    return sum(draw[name] for draw in draws) / len(draws)


def _bare(axes: Axes, title: str) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title(title, loc="left", color=INK, fontsize=11)
