"""The table of the results page: a line for each row with the swept axes as columns, and below each line, to be
unfolded, how it was made."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

from sleepy.report.summary import duration
from sleepy.results_page.differences import Difference
from sleepy.results_page.pictures import few, signed
from sleepy.results_page.rows import Row
from sleepy.results_page.words import adapter_bytes, commands, provenance, seconds

FEW = 12  # so many values of an axis can be chosen from a list


@dataclass(frozen=True)
class Cell:
    """A cell: what it shows, and the number it is sorted by (None: by its text)."""

    text: str
    key: float | None = None
    kind: str = "number"

    def html(self, tag: str) -> str:
        """The element; `th` heads a line."""
        key = "" if self.key is None else f' data-key="{self.key:.6g}"'
        scope = ' scope="row"' if tag == "th" else ""
        return f'<{tag}{scope} class="{self.kind}"{key}>{escape(self.text)}</{tag}>'


def table(rows: Sequence[Row], found: Sequence[Difference | None]) -> str:
    """The controls that filter it, and the table."""
    axes = list(rows[0].values)
    lines = [_cells(i, row, d) for i, (row, d) in enumerate(zip(rows, found, strict=True), 1)]
    names = [name for name in lines[0] if any(line[name].text for line in lines)]
    head = "".join(
        f'<th scope="col" class="{lines[0][name].kind.split()[0]}" aria-sort="{"none" if i else "ascending"}">'
        f'<button type="button">{escape(name)}</button></th>'
        for i, name in enumerate(names)
    )
    body = "".join(
        _line(i, row, [line[name] for name in names]) for i, (row, line) in enumerate(zip(rows, lines, strict=True))
    )
    return (
        f'<div class="controls">{_search()}{"".join(_choice(rows, axis) for axis in axes)}'
        f'<output id="count" aria-live="polite">{_rows(len(rows))}</output></div>\n'
        f'<div class="scroll" tabindex="0" role="region" aria-label="Table of all rows">'
        f'<table id="rows"><thead><tr>{head}<th><span class="unseen">How it was made</span></th></tr></thead>\n'
        f"{body}</table></div>"
    )


def _cells(number: int, row: Row, d: Difference | None) -> dict[str, Cell]:
    passed = [sum(r.passed for r in scores.results) for scores in row.after]
    total, mean = len(row.after[0].results), statistics.mean(passed)
    size, several = adapter_bytes(row), len(row.jobs) > 1
    cells = {"#": Cell(str(number), number)}
    for axis, value in row.values.items():
        cells[axis] = Cell(value, _number(value), "word axis")
    cells |= {
        "seeds": Cell(", ".join(row.seeds) if several else "", None, "word"),
        "passed": Cell(f"{few(mean)} of {total}", mean / total),
        "difference": Cell("", None), "95 %": Cell("", None, "number quiet"), "between seeds": Cell("", None),
        "gained": Cell("", None), "lost": Cell("", None), "p": Cell("", None),
    }  # fmt: skip
    if d:
        sure = " sure" if d.beyond_chance else ""
        low, high = map(signed, d.interval)
        cells["difference"] = Cell(signed(d.value), d.value, f"number strong{sure}")
        cells["95 %"] = Cell(f"{low} to {high}", d.interval[0], "number quiet")
        cells["gained"], cells["lost"] = Cell(few(d.fixes), d.fixes), Cell(few(d.regressions), d.regressions)
        if d.spread is not None:
            cells["between seeds"] = Cell(f"± {100 * d.spread:.1f}", d.spread)
        if d.p_value is not None:
            cells["p"] = Cell(f"{d.p_value:.2g}", d.p_value)
    cells["time"] = Cell(duration(seconds(row)), seconds(row))
    cells["adapter"] = Cell(f"{size / 1e6:.1f} MB" if size else "", size or None)
    return cells


def _line(place: int, row: Row, cells: Sequence[Cell]) -> str:
    """A line and what unfolds below it, in a body of their own, so that they stay together when they are sorted."""
    button = (
        f'<td><button type="button" class="unfold" aria-expanded="false" aria-controls="made-{place}">'
        f'<span class="unseen">How row {place + 1} was made</span></button></td>'
    )
    values = " ".join(f'data-axis-{i}="{escape(value)}"' for i, value in enumerate(row.values.values()))
    return (
        f'<tbody data-label="{escape(row.label.lower())}" {values}><tr class="line">'
        f"{''.join(cell.html('td' if i else 'th') for i, cell in enumerate(cells))}{button}</tr>"
        f'<tr class="made" id="made-{place}" hidden><td colspan="{len(cells) + 1}">{_made(row)}</td></tr></tbody>\n'
    )


def _made(row: Row) -> str:
    facts = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in provenance(row))
    runs = "".join(f"<dt>run</dt><dd><code>{run}</code><pre>{escape(line)}</pre></dd>" for run, line in commands(row))
    return f"<dl>{facts}{runs}</dl>"


def _search() -> str:
    return '<label>Find <input id="find" type="search" autocomplete="off" placeholder="words of a row"></label>'


def _choice(rows: Sequence[Row], axis: str) -> str:
    """A list to choose one of an axis' values from; nothing where there are too many."""
    values = list(dict.fromkeys(row.values[axis] for row in rows))
    if not 1 < len(values) <= FEW:
        return ""
    options = "".join(
        f"<option>{escape(value)}</option>" for value in sorted(values, key=lambda v: (_number(v) or 0, v))
    )
    place = list(rows[0].values).index(axis)
    everything = '<option value="" selected>all</option>'
    return f'<label>{escape(axis)} <select data-axis="{place}">{everything}{options}</select></label>'


def stream_tables(rows: Sequence[Row]) -> Iterator[str]:
    """The matrix R of each run with a stream: tasks across, steps down, the base first."""
    for number, row in enumerate(rows, 1):
        for job, seed in zip(row.jobs, row.seeds, strict=True):
            if job.stream is None:
                continue
            steps = job.stream["steps"]
            name = f"{number} · {row.label}" + (f", seed {seed}" if len(row.jobs) > 1 else "")
            head = "".join(f'<th scope="col">{escape(step)}</th>' for step in steps)
            lines = [
                ("base", job.stream["base"]),
                *zip((f"after {s}" for s in steps), job.stream["matrix"], strict=True),
            ]
            body = "".join(
                f'<tr><th scope="row">{escape(line)}</th>' + "".join(map(_heat, rates)) + "</tr>"
                for line, rates in lines
            )
            figures = ", ".join(f"{key.upper()} {100 * job.stream[key]:+.1f}" for key in ("acc", "bwt", "fwt"))
            yield (
                f'<figure class="stream"><figcaption>{escape(name)} <span class="quiet">{figures}</span></figcaption>'
                f'<div class="scroll" tabindex="0" role="region" aria-label="R of {escape(name)}"><table class="heat">'
                f"<thead><tr><td></td>{head}</tr></thead><tbody>{body}</tbody></table></div></figure>"
            )


def _heat(rate: float) -> str:
    return f'<td class="h{round(10 * rate)}">{100 * rate:.0f}</td>'


def _number(value: str) -> float | None:
    try:
        return float(value)
    except ValueError:
        return None


def _rows(count: int) -> str:
    return f"{count} row{'' if count == 1 else 's'}"
