"""What the compiler said, as text: shortened, in full, as its own words without the program that it draws."""

from __future__ import annotations

import re
from collections.abc import Sequence

from sleepy.artifacts import Diagnostic

_SPOKEN = re.compile(
    r"error(?:\[\w+\])?: (?P<error>.+)"
    r"|\s*(?:= )?(?:help|note|warning): (?P<advice>.+)"
    r"|\s*\|[\s|_^~+-]*(?P<label>[^\s|_^~+-].*)"
)
_QUOTED = re.compile(r"`[^`]*`")
_NAME = re.compile(r"[^\W\d][\w:]*")
_NUMBER = re.compile(r"\d+")
_WORD = re.compile(r"[^\W\d]\w*|[?!&]")

LINES_SHOWN = 6  # a short message names at most so many places and errors


def short_message(diagnostics: Sequence[Diagnostic], program: str, help: bool = True) -> str:
    """rustc's errors with code, places and first help (if `help`), without the source drawn again around every label: a
    third of the tokens of the rendered text."""
    lines = program.split("\n")  # as rustc counts them, to which U+2028 or a form feed ends no line
    shown = []
    distinct = list({(d.code, d.message): d for d in reversed(diagnostics)}.values())[::-1]  # rustc repeats some
    for d in distinct[:LINES_SHOWN]:
        shown.append(f"error[{d.code}]: {d.message}" if d.code else f"error: {d.message}")
        for number, label in d.labels[:LINES_SHOWN]:
            source = lines[number - 1].strip() if 0 < number <= len(lines) else ""
            shown.append(f"  line {number}: `{source}`" + (f" <- {label}" if label else ""))
        shown += [f"  help: {d.helps[0]}"] if help and d.helps else []
    if len(distinct) > LINES_SHOWN:
        shown.append(f"and {len(distinct) - LINES_SHOWN} more errors")
    return "\n".join(shown)


def full_message(diagnostics: Sequence[Diagnostic]) -> str:
    """rustc's own rendering of every error."""
    return "\n".join(d.rendered.rstrip() for d in diagnostics)


def spoken(message: str) -> list[str]:
    """The compiler's own words in its rendered errors: errors, labels, helps and notes, a line each. The program's
    lines and places are left out."""
    found = [_SPOKEN.match(line) for line in message.split("\n")]
    return [m[m.lastgroup or 0].strip() for m in found if m]


def spoken_lines(message: str) -> frozenset[str]:
    """The lines of `spoken`, with the names that rustc quotes and all numbers replaced: `Vec<u8>` is `_<_>`."""
    return frozenset(_NUMBER.sub("0", _QUOTED.sub(lambda q: _NAME.sub("_", q[0]), line)) for line in spoken(message))


def spoken_words(message: str) -> frozenset[str]:
    """The words of `spoken`, in lower case. Names stay: `Option` says much, and a program's own names, which no other
    program has, take from every similarity alike."""
    return frozenset(word.lower() for line in spoken(message) for word in _WORD.findall(line))
