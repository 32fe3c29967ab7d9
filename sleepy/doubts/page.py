"""The doubts about a program as one HTML page, which loads nothing and runs nothing."""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Iterator
from html import escape
from pathlib import Path

from sleepy.artifacts import Departure
from sleepy.doubts._style import STYLE
from sleepy.doubts.doubts import Doubts
from sleepy.doubts.strip import Piece, pieces
from sleepy.episodes.record import diff
from sleepy.files import write_text
from sleepy.results import Attempt

_LEVELS = (0.01, 0.03, 0.1, 0.25, 0.5)  # from which probability on a token has the class d1, d2, ...
_LISTED, _TOLD = 12, 4  # departures in the table, and in the words about a token
_END = '<i class="end"></i>'
_VISIBLE = str.maketrans({"\n": "↵", "\t": "⇥", " ": "␣"})


def write_doubts(path: Path, doubts: Doubts) -> None:
    """Write the page: the program with its doubts, the likeliest departures, and the answers. Raises DiskError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, page(doubts))


def page(d: Doubts) -> str:
    """The page. Whatever comes from a program, a model or the compiler is escaped."""
    allowed = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
    groups = _groups(d)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
        f"style-src 'sha256-{allowed}'; base-uri 'none'; form-action 'none'\">\n"
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(d.task.id)}: where the model doubts</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n"
        f"<h1>{escape(d.task.id)}: where the model doubts</h1>\n"
        f'<p class="soft">{escape(d.model)}. {escape(d.task.description)}</p>\n'
        f"{_source(d)}{_table(d, groups)}{_answers(d, groups)}</main>\n</body>\n</html>\n"
    )


def _source(d: Doubts) -> str:
    numbers = "\n".join(str(n + 1) for n in range(len(d.program.rstrip("\n").split("\n"))))
    said = "\n".join(item.rendered for item in d.said.diagnostics) or d.said.detail
    names = ("under 1 %", "1 to 3 %", "3 to 10 %", "10 to 25 %", "25 to 50 %", "over 50 %")
    legend = "".join(
        f'<li><mark class="d{level}" aria-hidden="true">a</mark>{name}</li>' for level, name in enumerate(names)
    )
    left = "<p>rustc's own suggestions are in it already: the model is asked about what is left.</p>\n"
    if d.said.compiles:
        left = "<p>rustc's own suggestions were enough: this is the program with them, and no model was asked.</p>\n"
    return (
        f"<h2>The broken program</h2>\n{left if d.program != d.task.broken else ''}"
        "<p>A repair is nearly a copy of this program. The stronger a token's colour, the likelier the model writes "
        "something else there: point at it, or move to it with the tab key, to read what.</p>\n"
        f'<ul class="legend" aria-label="Probability of something else">{legend}</ul>\n'
        f'<div class="card source"><pre class="numbers" aria-hidden="true">{numbers}</pre>'
        f"<pre><code>{''.join(_marked(d))}</code></pre></div>\n"
        f"<details><summary>What the compiler says of it</summary><pre>{escape(said)}</pre></details>\n"
    )


def _marked(d: Doubts) -> Iterator[str]:
    line = 1
    for piece in pieces(d.program, d.departures):
        if piece.others:
            level = _level(piece.doubt)
            focus = ' tabindex="0"' if level else ""
            text = escape(piece.text)
            if level:  # what has no breadth is shown by a sign
                text = text.replace("\n", f"{_END}\n") or _END
            yield f'<mark class="d{level}"{focus} title="{escape(_told(piece, line))}">{text}</mark>'
        else:
            yield escape(piece.text)
        line += piece.text.count("\n")


def _level(doubt: float) -> int:
    return sum(doubt >= bound for bound in _LEVELS)


def _told(piece: Piece, line: int) -> str:
    """What the model would write in a token's place, in words."""
    own = f"instead of {_visible(piece.text)}" if piece.text else "after the last line"
    others = ", ".join(f"{_visible(o.token)} {_percent(math.exp(o.chance))}" for o in piece.others[:_TOLD])
    return f"line {line}, {own}: something else {_percent(piece.doubt)} ({others})"


def _table(d: Doubts, groups: dict[str, list[int]]) -> str:
    likeliest = sorted(d.departures, key=lambda departure: -departure.chance)[:_LISTED]
    if not likeliest:
        return ""
    rows = "".join(_row(departure, groups) for departure in likeliest)
    names = ("probability", "line", "after", "instead of", "it nearly wrote", "led to")
    head = "".join(f'<th scope="col">{name}</th>' for name in names)
    return (
        '<h2>Where it nearly wrote something else</h2>\n<div class="wide"><table>\n'
        f"<caption>The {len(likeliest)} likeliest departures. ␣ is a space, ↵ the end of a line.</caption>\n"
        f"<thead><tr>{head}</tr></thead>\n<tbody>{rows}</tbody></table></div>\n"
    )


def _row(departure: Departure, groups: dict[str, list[int]]) -> str:
    start = departure.before + departure.token
    led = [n[0] + 1 for program, n in groups.items() if program.startswith(start)]
    links = ", ".join(f'<a href="#answer{number}">answer {number}</a>' for number in led)
    after = departure.before.rpartition("\n")[2].strip()
    after = f"…{after[-24:]}" if len(after) > 24 else after
    own, token = _visible(departure.instead), _visible(departure.token)
    return (
        f'<tr><td class="number">{_percent(math.exp(departure.chance))}</td>'
        f"<td>{departure.before.count(chr(10)) + 1}</td><td><code>{escape(after)}</code></td>"
        f"<td><code>{escape(own)}</code></td><td><code>{escape(token)}</code></td>"
        f"<td>{links}</td></tr>\n"
    )


def _groups(d: Doubts) -> dict[str, list[int]]:
    """Program -> the places of the answers that give it, in the order in which they were asked for."""
    found: dict[str, list[int]] = {}
    for place, attempt in enumerate(d.result.attempts):
        found.setdefault(attempt.program, []).append(place)
    return found


def _answers(d: Doubts, groups: dict[str, list[int]]) -> str:
    hidden = " The hidden tests have no say in the choice." if d.task.tests else ""
    chosen = d.result.chosen % len(d.result.attempts)
    order = sorted(groups.values(), key=lambda p: (chosen not in p, d.result.attempts[p[0]].stage == "compile", p[0]))
    body = "".join(_answer(d, d.result.attempts[places[0]].program, places) for places in order)
    return (
        f"<h2>The answers</h2>\n<p>{escape(d.tried)}.{hidden} A program that compiles need not do what you want: look "
        f"at what changed. The chosen answer stands first, then the others that compile.</p>\n{body}"
    )


def _answer(d: Doubts, program: str, places: list[int]) -> str:
    chosen = d.result.chosen % len(d.result.attempts) in places
    counts = chosen and d.result.attempts[places[0]].stage != "compile"
    names = ", ".join(str(place + 1) for place in places)
    tag = ' <span class="tag">chosen</span>' if counts else ""
    lines = diff(d.task.broken, program, "program.rs").split("\n")[2:]
    changed = "\n".join(lines).rstrip("\n")
    shown = f"<pre><code>{_diff(changed)}</code></pre>" if changed else "<p>The broken program, unchanged.</p>"
    return (
        f'<section class="card{" chosen" if counts else ""}" id="answer{places[0] + 1}">\n'
        f"<h3>Answer{'s' if len(places) > 1 else ''} {names}: {_verdict(d, d.result.attempts[places[0]])}{tag}</h3>\n"
        f"{shown}\n</section>\n"
    )


def _verdict(d: Doubts, attempt: Attempt) -> str:
    """The compiler's word, and that of the tests: a koan's hidden ones, or a project's own."""
    if attempt.stage == "compile":
        said = "; ".join(attempt.signature.split("\n")) or ", ".join(attempt.codes) or "does not compile"
        return f'<span class="bad">✗ {escape(said)}{" (cut for length)" if attempt.cut else ""}</span>'
    whose = "hidden" if d.task.tests else "project's"
    if attempt.stage == "test":
        return f'<span class="bad">✗ compiles, but the {whose} tests fail</span>'
    return f'<span class="good">✓ compiles{", and the hidden tests pass" if d.task.tests else ""}</span>'


def _diff(text: str) -> str:
    kinds = {"+": "new", "-": "cut"}
    found = []
    for line in text.split("\n"):
        kind = kinds.get(line[:1])
        found.append(f'<span class="{kind}">{escape(line)}</span>' if kind else f"{escape(line)}\n")
    return "".join(found)


def _visible(text: str) -> str:
    return text.translate(_VISIBLE)


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %" if share >= 0.1 else f"{100 * share:.2g} %"
