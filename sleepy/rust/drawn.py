"""rustc's drawing of an error, read back into diagnostics."""

from __future__ import annotations

import re
from dataclasses import replace

from sleepy.artifacts import Diagnostic, Task

# What rustc draws: an error, a help or note, a line of the program, what was added to it, marks and perhaps a label.
_ERROR = re.compile(r"error(?:\[(\w+)\])?: (.*)")
_ASIDE = re.compile(r"(?: *= )?(help|note): (.*)")
_SOURCE = re.compile(r" *(\d+) ([|+~-]) ?(.*)")
_ADDED = re.compile(r" *\| [ +~]*[+~]")
_WORD = re.compile(r"[A-Za-z_]+|[&*?'<>]")
_UNDER = re.compile(r" *\|([ |^_-]*)(.*)")


def drawn_errors(pair: Task) -> list[Diagnostic]:
    """The errors of a pair's broken program, read from its message as rustc drew it, as far as the drawing tells:
    a prompt is put together without the compiler."""
    found: list[Diagnostic] = []
    labels: list[tuple[bool, int, str]] = []
    helps: list[str] = []
    section, place, lint = "", 0, "" if pair.code.startswith("E0") else pair.code
    lines = pair.message.split("\n")
    for line, below in zip([*lines, "error: "], [*lines[1:], "", ""], strict=True):  # the added line ends the last one
        if match := _ERROR.match(line):
            if found:
                shown = [(number, text) for _, number, text in sorted(labels, key=lambda label: label[0])]
                found[-1] = replace(found[-1], labels=tuple(dict.fromkeys(shown)), helps=tuple(helps))
            found.append(Diagnostic(match[1] or lint, match[2], (), (), ""))
            section, place, labels, helps = "labels", 0, [], []
        elif match := _ASIDE.match(line):
            section = match[1]
            helps += [match[2]] if section == "help" else []
        elif match := _SOURCE.match(line):
            place = int(match[1])
            if section == "help" and (match[2] in "+~" or _ADDED.match(below)):
                helps[-1] += f"\n    line {place}: `{match[3].strip()}`"
        elif section == "labels" and place and (match := _UNDER.match(line)) and (match[2] or "^" in match[1]):
            labels.append(("^" not in match[1], place, match[2]))
    return found[:-1]


def undrawn_words(rendered: str) -> frozenset[str]:
    """The words and signs of what rustc says, places and marks included, without the program's lines that it draws."""
    said = (line for line in rendered.split("\n") if not _SOURCE.match(line))
    return frozenset(word for line in said for word in _WORD.findall(line))
