"""The house style of all pictures: colours, axes, legends, grids of squares, and how a picture is saved.

Drawing needs no display and keeps no state. Blue, sky blue and vermilion are from the palette of Okabe and Ito, which
colour-blind readers can tell apart; whatever a colour says, a symbol, a line style or a position says too.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, SKY, VERMILION, GREY, INK, RULE = "#0072B2", "#56B4E9", "#D55E00", "#A3AAB2", "#33393F", "#E3E6E9"
WIDTH = 7.2  # inches, of a picture with one panel


def panels(rows: int, columns: int, size: tuple[float, float], **shared: Any) -> tuple[Figure, Any]:
    """A figure of `size` (width and height in inches), laid out without overlaps, and its rows x columns axes."""
    from matplotlib.figure import Figure

    figure = Figure(size, layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False, **shared)


def panel(title: str, x: str, y: str, height: float = 3.8, grid: str = "y") -> tuple[Figure, Axes]:
    """A figure with one panel in the house style."""
    figure, axes = panels(1, 1, (WIDTH, height))
    style(axes[0, 0], title, grid)
    axes[0, 0].set(xlabel=x, ylabel=y)
    return figure, axes[0, 0]


def style(axes: Axes, title: str, grid: str = "y", size: int = 12) -> None:
    """Open at the top and at the right, the title on the left, pale grid lines behind the data."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title(title, loc="left", color=INK, fontsize=size)
    axes.set_axisbelow(True)
    if grid:
        axes.grid(axis=grid, color=RULE)


def squares(height: float, widths: Sequence[float], cell: float, labels: float) -> tuple[Figure, Sequence[Axes]]:
    """A figure with a panel for each of `widths` side by side, each of width x height square cells of about `cell`
    inches, counted from the top left, with about `labels` inches for the labels beside the panels."""
    from matplotlib.figure import Figure

    # The layout finds room for the labels whatever their size, and saving cuts off what is left over.
    figure = Figure((max(WIDTH, cell * sum(widths) + labels), cell * height + 1.2), layout="compressed")
    panels: Sequence[Axes] = figure.subplots(1, len(widths), squeeze=False, width_ratios=widths)[0]
    for axes, width in zip(panels, widths, strict=True):
        axes.set(xlim=(0, width), ylim=(height, 0), aspect="equal", anchor="NW", xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
        axes.xaxis.tick_top()
        axes.tick_params(length=0, labelcolor=INK)
    return figure, panels


def legend(figure: Figure, columns: int, *entries: Sequence[Any]) -> None:
    """A legend below the panels; `entries` are handles and labels, else those of the panels are taken."""
    figure.legend(*entries, loc="outside lower center", ncols=columns, frameon=False, fontsize=9)


def save(figure: Figure, path: Path, dpi: int) -> None:
    """Write a PNG file, cut to what is drawn, at `dpi` dots per inch. Raises DiskError."""
    from sleepy.files import whole

    with whole(path) as partial:
        figure.savefig(partial, format="png", dpi=dpi, bbox_inches="tight", pad_inches=0.12)
