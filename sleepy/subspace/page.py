"""What was found as a Markdown page, and its head as a table in the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from sleepy.subspace.analysis import LEVELS, SIDES, percent
from sleepy.subspace.findings import Findings


class Row(NamedTuple):
    """A headline figure: words, the metric's name, how it is written, what was found, and each draw of the null."""

    words: str
    name: str
    form: str
    found: float
    nulls: list[float]

    @property
    def null(self) -> float:
        """The draws' mean."""
        return sum(self.nulls) / len(self.nulls)

    @property
    def texts(self) -> tuple[str, str]:
        """Found, and null."""
        return self.form.format(self.found), self.form.format(self.null)


def headline(findings: Findings) -> list[Row]:
    """The figures of all layers that say most."""
    level = percent(findings.plan.variance)
    rows = []
    for side, letter in zip(SIDES, ("B", "A"), strict=True):
        for words, name, form in (
            (f"{letter}: directions for {level} % of the variance", f"{side}/k/{level}", "{:.1f}"),
            (f"{letter}: the same without the mean", f"{side}/k_without_mean/{level}", "{:.1f}"),
            (f"{letter}: angle between two halves, degrees", f"{side}/angle/halves", "{:.1f}"),
            *((f"{letter}: angle between {g}, degrees", f"{side}/angle/{g}", "{:.1f}") for g in findings.plan.groups),
            (f"{letter}: of a held-out adapter outside", f"{side}/held_out/{level}", "{:.1%}"),
        ):
            rows.append((words, name, form))
    rows += [
        ("dW: of a held-out adapter outside", f"update/held_out/{level}", "{:.1%}"),
        ("dW: in the best mix of the others", "update/combination", "{:.1%}"),
        ("dW: along the mean of the others", "update/mean", "{:.1%}"),
    ]
    return [Row(words, name, form, findings.of(name), findings.nulls(name)) for words, name, form in rows]


def metrics(findings: Findings) -> dict[str, float]:
    """The headline for MLflow: subspace/<name> and subspace/null/<name>."""
    out = {"subspace/adapters": float(len(findings.adapters)), "subspace/layers": float(len(findings.layers))}
    for row in headline(findings):
        name = row.name.removesuffix(f"/{percent(findings.plan.variance)}")
        out |= {f"subspace/{name}": row.found, f"subspace/null/{name}": row.null}
    return out


def show(findings: Findings, places: Mapping[str, str]) -> None:
    """Print the headline on stdout, and where more is."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("")
    table.add_column("found", justify="right", no_wrap=True)
    table.add_column("by chance", justify="right", no_wrap=True)
    for row in headline(findings):
        table.add_row(row.words, *row.texts)
    console = Console()
    console.print(f"\n{len(findings.adapters)} adapters, means over {len(findings.layers)} layers\n", highlight=False)
    console.print(table)
    for line in warnings(findings):
        console.print(f"\nnote: {line}", highlight=False)
    console.print()
    for name, place in places.items():
        # Never wrapped, so that it can be copied.
        console.print(Text(f"{name:8} {place}"), soft_wrap=True)


def warnings(findings: Findings) -> list[str]:
    """What a reader could take for a finding and is none."""
    if len(findings.seeds) != 1 or not findings.seeds[0]:
        return []
    return [
        f"all adapters were trained with seed {findings.seeds[0]}. A starts from the seed's random numbers, so these "
        "adapters share a start: what A has in common, and B through it, may be that. The figures without the mean "
        "take it out; adapters of several seeds would show what is left."
    ]


def page(findings: Findings, pictures: Mapping[str, str]) -> str:
    """The page. `pictures`: name of a picture -> its file beside the page."""
    plan, level = findings.plan, percent(findings.plan.variance)
    held = max(map(len, plan.folds))
    parts = [
        f"# What {len(findings.adapters)} adapters have in common",
        f"{len(findings.layers)} layers; every figure is a mean over layers. Beside each stands what random adapters "
        "show that have the same shapes and the same length of every column (the null). Their subspaces get as many "
        "directions as the trained adapters' own, so that only where they lie is compared.",
        *(f"> Note: {line}" for line in warnings(findings)),
        _table(
            ["figure", "found", "null", "null, draw by draw"],
            [[r.words, *r.texts, ", ".join(r.form.format(x) for x in r.nulls)] for r in headline(findings)],
        ),
        f"B holds directions of a layer's output, A of its input; dW = B A is the update. {level} % of the "
        "variance decides how many directions stand for a set of adapters. Angles are means over the principal angles: "
        f"0° is the same subspace, 90° nothing in common. Held out: {len(plan.folds)} sets of up to {held}, each "
        "against the directions of all others; shares are of squared norms.",
        "## Spectrum",
        _picture("Explained variance", pictures["spectrum"]),
        _spectrum(findings),
        "Without the mean: every column has lost its mean over the adapters (the first column of all B, and so on). "
        "That says something for adapters of one rank and one start; the mean of dW, below, depends on neither.",
        "## Angles",
        _picture("Principal angles", pictures["angles"]),
        *_groups(findings),
        "## Held out",
        _picture("Outside of the others' directions", pictures["held_out"]),
        _levels(findings),
        "## The mean adapter",
        _picture("Along the mean of the others", pictures["mean"]),
        "How much of an adapter's dW the other adapters have: their mean alone (one direction), and their best linear "
        "combination, which knows the adapter. Where both are near each other, what is shared is the mean. Where much "
        "of dW lies in the others' directions but little in their combinations, the directions are shared and their "
        "use is not.",
        "## By layer type",
        _kinds(findings),
        "Found, and the null in brackets.",
        "## Adapters",
        "\n".join(f"- {_escaped(name)}" for name in findings.adapters),
    ]
    return "\n\n".join(parts) + "\n"


def _spectrum(findings: Findings) -> str:
    """Directions by level."""
    names = [f"{side}/k{part}" for side in SIDES for part in ("", "_without_mean")]
    return _table(
        ["variance", *(f"{letter}{part}" for letter in "BA" for part in ("", " without mean"))],
        [[f"{percent(v)} %", *(_both(findings, f"{n}/{percent(v)}", "{:.1f}") for n in names)] for v in LEVELS],
    )


def _levels(findings: Findings) -> str:
    """What is lost of held-out adapters, by level."""
    names = [f"{what}/held_out" for what in (*SIDES, "update")]
    return _table(
        ["variance", "B outside", "A outside", "dW outside"],
        [[f"{percent(v)} %", *(_both(findings, f"{n}/{percent(v)}", "{:.1%}") for n in names)] for v in LEVELS],
    )


def _kinds(findings: Findings) -> str:
    level = percent(findings.plan.variance)
    columns = [
        (f"{letter}: {words}", f"{side}/{name}", form)
        for side, letter in zip(SIDES, "BA", strict=True)
        for words, name, form in (
            ("directions", f"k/{level}", "{:.1f}"),
            ("halves", "angle/halves", "{:.0f}°"),
            ("outside", f"held_out/{level}", "{:.0%}"),
        )
    ] + [("dW: outside", f"update/held_out/{level}", "{:.0%}"), ("dW: mean", "update/mean", "{:.1%}")]
    return _table(
        ["layer", *(words for words, _, _ in columns)],
        [[kind, *(_both(findings, name, form, kind) for _, name, form in columns)] for kind in findings.kinds],
    )


def _groups(findings: Findings) -> list[str]:
    """Angles between families, or seeds, two by two."""
    parts = []
    for grouping, groups in findings.plan.groups.items():
        pairs = findings.plan.pairs(grouping)
        curves = [findings.curve(f"{side}/angle/{grouping}") for side in SIDES]
        cells = {
            pair: ", ".join(f"{found[i]:.0f}° ({null[i]:.0f}°)" for found, null in curves)
            for i, pair in enumerate(pairs)
        }
        names = list(groups)
        parts += [
            f"Between {grouping}: B, A (the null in brackets); the number of adapters behind the name.",
            _table(
                ["", *names[1:]],
                [[f"{a} ({len(groups[a])})", *(cells.get((a, b), "") for b in names[1:])] for a in names[:-1]],
            ),
        ]
    return parts


def _both(findings: Findings, name: str, form: str, kind: str = "") -> str:
    return f"{form.format(findings.of(name, kind))} ({form.format(findings.null(name, kind))})"


def _picture(title: str, name: str) -> str:
    return f"![{title}]({name})"


def _table(head: Sequence[str], body: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *body]
    return "\n".join("| " + " | ".join(_escaped(cell) for cell in line) + " |" for line in lines)


def _escaped(text: str) -> str:
    """Text that stays on one line, in one cell, and is not taken for HTML."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")
