"""The results page as one HTML file that asks nothing of a network: figures, pictures, texts and the script that sorts,
filters and shows them. Only that script and that style sheet may run: the policy names their digests."""

from __future__ import annotations

import base64
import hashlib
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from sleepy.results_page import sections
from sleepy.results_page.differences import Draws, differences, smallest_noticed
from sleepy.results_page.jobs import Found
from sleepy.results_page.koans import Exams, Judge, columns, details, outcomes
from sleepy.results_page.rows import rows
from sleepy.results_page.svg import Pictures
from sleepy.results_page.table import table
from sleepy.results_page.words import description

_HERE = Path(__file__).parent


@dataclass(frozen=True)
class Page:
    """The page, and what it says in a sentence or two: the description of a sweep in MLflow."""

    html: str
    description: str


def results_page(
    title: str, found: Found, exams: Exams, judge: Judge, done: Callable[[], object] = lambda: None
) -> Page:
    """The page of some runs: what others are compared with, then the best row first. `exams` and `judge` give
    programs and messages to show, see koans; `done` is called once a koan."""
    draws, drawn = Draws(), Pictures()
    made = rows(found.jobs)
    by_row = list(zip(made, differences(made, draws), strict=True))
    by_row.sort(key=lambda pair: -pair[1].value if pair[1] else -math.inf)
    ordered, changes = [row for row, _ in by_row], [d for _, d in by_row]
    noticed, shown = smallest_noticed(ordered, changes), columns(ordered)
    parts = [
        sections.header(title, ordered, changes, noticed, found),
        sections.forest(drawn, ordered, changes),
        sections.section("table", "All rows", sections.TABLE, table(ordered, changes)),
        sections.section("koans", "Koan by koan", sections.KOANS, _text("matrix.html")),
        sections.of_values(drawn, ordered, changes, draws),
        sections.against_costs(drawn, ordered, changes),
        sections.streams(drawn, ordered),
        f"<footer><p>{escape(sections.NOTES)}</p></footer>",
    ]
    body = "<main>\n" + "\n".join(part for part in parts if part) + "\n</main>\n" + _text("dialog.html")
    data = {"data": outcomes(shown, exams), "more": details(shown, exams, judge, done)}
    blocks = [f'<script type="application/json" id="{name}">{_json(value)}</script>' for name, value in data.items()]
    text = description(ordered, changes, noticed)
    return Page(_document(title, "\n".join([body, *blocks]), drawn.css()), text)


def _text(name: str) -> str:
    return (_HERE / name).read_text(encoding="utf-8")


def _document(title: str, body: str, styles: str) -> str:
    css, script = _text("page.css") + styles, _text("page.js")
    allowed = f"style-src {_digest(css)}; script-src {_digest(script)}"
    policy = f"default-src 'none'; {allowed}; base-uri 'none'; form-action 'none'"
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{escape(title)}</title>\n<style>{css}</style>\n</head>\n<body>\n{body}\n"
        f"<script>{script}</script>\n</body>\n</html>\n"
    )


def _digest(text: str) -> str:
    """As a content security policy names an inline script or style sheet."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _json(value: Any) -> str:
    """JSON that no HTML parser takes for a tag."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
