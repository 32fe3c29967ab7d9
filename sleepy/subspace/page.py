"""What was found as a Markdown page, and its most important figures in the terminal and as metrics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sleepy.subspace.analysis import LEVELS, SIDES, percent
from sleepy.subspace.findings import Findings
from sleepy.tables import escaped, markdown_table, picture, terminal_table

PICTURES = ("spectrum", "angles", "held_out", "mean")
Column = tuple[str, str, str]
"""A figure in words, its number's name, and how it is written."""
_LETTERS = {"out": "B", "in": "A", "update": "dW"}


def headline(findings: Findings) -> list[Column]:
    """The figures of all layers that say most."""
    level = percent(findings.variance)
    angles = {"halves": "two halves", **{name: name for name in findings.sets.groups}}
    return [
        *(
            (f"{_LETTERS[side]}: {words}", f"{side}/{name}", form)
            for side in SIDES
            for words, name, form in (
                (f"directions for {level} % of the variance", f"k/{level}", "{:.1f}"),
                ("the same without the mean", f"k_without_mean/{level}", "{:.1f}"),
                *((f"angle between {words}, degrees", f"angle/{name}", "{:.1f}") for name, words in angles.items()),
                ("share of a held-out adapter outside", f"held_out/{level}", "{:.1%}"),
            )
        ),
        ("dW: share of a held-out adapter outside", f"update/held_out/{level}", "{:.1%}"),
        ("dW: in the best mix of the others", "update/combination", "{:.1%}"),
        ("dW: along the mean of the others", "update/mean", "{:.1%}"),
    ]


def metrics(findings: Findings) -> dict[str, float]:
    """The headline for MLflow: subspace/<name> and subspace/null/<name>."""
    out = {"subspace/adapters": float(len(findings.adapters)), "subspace/layers": float(len(findings.layers))}
    for _, number, _ in headline(findings):
        found, nulls = findings.of(number)
        name = number.removesuffix(f"/{percent(findings.variance)}")
        out |= {f"subspace/{name}": found, f"subspace/null/{name}": sum(nulls) / len(nulls)}
    return out


def show(findings: Findings, places: Mapping[str, str]) -> None:
    """Print the headline on stdout, and where more is (`places`: what -> where)."""
    from rich.console import Console
    from rich.text import Text

    console = Console()
    console.print(f"\n{len(findings.adapters)} adapters, means over {len(findings.layers)} layers\n", highlight=False)
    rows = [[words, *_both(findings, name, form)] for words, name, form in headline(findings)]
    console.print(terminal_table(["", "found", "by chance"], rows))
    for line in warnings(findings):
        console.print(f"\nnote: {line}", highlight=False)
    console.print()
    for name, place in places.items():
        # Never wrapped, so that it can be copied.
        console.print(Text(f"{name:8} {place}"), soft_wrap=True)


def warnings(findings: Findings) -> list[str]:
    """What a reader could mistake for a finding."""
    if len(findings.seeds) != 1 or not findings.seeds[0]:
        return []
    return [
        f"all adapters were trained with seed {findings.seeds[0]}. A starts from the seed's random numbers, so these "
        "adapters share a start: what A has in common, and through it B, may be that start. The figures without the "
        "mean leave it out; adapters of several seeds would show what remains."
    ]


def page(findings: Findings, pictures: Mapping[str, str]) -> str:
    """The page. `pictures`: each of PICTURES -> its file beside the page."""
    sets, level = findings.sets, percent(findings.variance)
    held = max(map(len, sets.folds))
    head = []
    for words, name, form in headline(findings):
        draws = ", ".join(form.format(x) for x in findings.of(name)[1])
        head.append([words, *_both(findings, name, form), draws])
    by_level = [
        (f"{_LETTERS[side]}{words}", f"{side}/{name}", "{:.1f}")
        for words, name in (("", "k"), (" without mean", "k_without_mean"))
        for side in SIDES
    ]
    by_kind = [
        (f"{_LETTERS[side]}: {words}", f"{side}/{name}", form)
        for side in SIDES
        for words, name, form in (
            ("directions", f"k/{level}", "{:.1f}"),
            ("halves", "angle/halves", "{:.0f}°"),
            ("outside", f"held_out/{level}", "{:.0%}"),
        )
    ]
    by_kind += [("dW: outside", f"update/held_out/{level}", "{:.0%}"), ("dW: mean", "update/mean", "{:.1%}")]
    parts = [
        f"# What {len(findings.adapters)} adapters have in common",
        f"{len(findings.layers)} layers; every figure is a mean over layers. Beside each figure is that of random "
        "adapters (the null): of the same shapes, with columns of the same lengths, and with as many directions as the "
        "trained adapters' subspaces have, so that only their position is compared.",
        *(f"> Note: {line}" for line in warnings(findings)),
        markdown_table(["figure", "found", "null", "null, draw by draw"], head),
        f"B holds directions of a layer's output, A of its input; dW = B A is the update. {level} % of the variance "
        "decides how many directions stand for a set of adapters. Angles are means over the principal angles: 0° means "
        f"the same subspace, 90° nothing in common. Held out: {len(sets.folds)} sets of up to {held}, each against the "
        "directions of all others; shares are of squared norms. In the tables below, the null is in brackets.",
        "## Spectrum",
        picture("Explained variance", pictures["spectrum"]),
        _by_level(findings, by_level),
        "Without the mean: every column is taken less its mean over the adapters (the first column of all B, and so "
        "on). That is meaningful for adapters of one rank and one start; the mean of dW, below, depends on neither.",
        "## Angles",
        picture("Principal angles", pictures["angles"]),
        *_groups(findings),
        "## Held out",
        picture("Outside of the others' directions", pictures["held_out"]),
        _by_level(findings, [(f"{word} outside", f"{side}/held_out", "{:.1%}") for side, word in _LETTERS.items()]),
        "## The mean adapter",
        picture("Along the mean of the others", pictures["mean"]),
        "How much of an adapter's dW the other adapters have: their mean alone (one direction), and their best linear "
        "combination, which is fitted to the adapter. If the two are close, what is shared is the mean. If much of dW "
        "lies in the others' directions but little in their combinations, the directions are shared but not how they "
        "are used.",
        "## By layer type",
        markdown_table(
            ["layer", *(words for words, _, _ in by_kind)],
            [[kind, *(_cell(findings, name, form, kind) for _, name, form in by_kind)] for kind in findings.kinds],
        ),
        "## Adapters",
        "\n".join(f"- {escaped(name)}" for name in findings.adapters),
    ]
    return "\n\n".join(parts) + "\n"


def _by_level(findings: Findings, columns: Sequence[Column]) -> str:
    """A line for each share of the variance."""
    rows = [
        [f"{percent(v)} %", *(_cell(findings, f"{name}/{percent(v)}", form) for _, name, form in columns)]
        for v in LEVELS
    ]
    return markdown_table(["variance", *(words for words, _, _ in columns)], rows)


def _groups(findings: Findings) -> list[str]:
    """Angles between every two families, or seeds."""
    parts = []
    for grouping, groups in findings.sets.groups.items():
        curves = [findings.curve(f"{side}/angle/{grouping}") for side in SIDES]
        cells = {
            pair: ", ".join(f"{found[i]:.0f}° ({null[i]:.0f}°)" for found, null in curves)
            for i, pair in enumerate(findings.sets.pairs(grouping))
        }
        names = list(groups)
        rows = [[f"{a} ({len(groups[a])})", *(cells.get((a, b), "") for b in names[1:])] for a in names[:-1]]
        parts += [
            f"Between {grouping}, for B and A; after a name, the number of its adapters:",
            markdown_table(["", *names[1:]], rows),
        ]
    return parts


def _both(findings: Findings, name: str, form: str, kind: str = "") -> tuple[str, str]:
    """Found, and the mean of the null's draws."""
    found, nulls = findings.of(name, kind)
    return form.format(found), form.format(sum(nulls) / len(nulls))


def _cell(findings: Findings, name: str, form: str, kind: str = "") -> str:
    return "{} ({})".format(*_both(findings, name, form, kind))
