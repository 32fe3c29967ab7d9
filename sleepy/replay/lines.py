"""What a comparison says: lines that are the same, differ, or cannot be told."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from sleepy.tables import markdown_table

SAME, DIFFERS, UNKNOWN = "same", "differs", "unknown"
_HEX = re.compile(r"[0-9a-f]{32,}")
_SHOWN = 4  # things that are named; of more there is a count


class Line(NamedTuple):
    """One thing that was compared."""

    what: str
    state: str
    note: str = ""


def table(title: str, lines: Sequence[Line]) -> str:
    """The lines as Markdown."""
    return markdown_table((title, "", ""), lines)


def line_of(what: str, then: str | None, now: str | None) -> Line:
    """Two texts compared, of which None is not known. Where they differ, the note has the words of only one of them."""
    if then is None or now is None:
        return Line(what, UNKNOWN, "not recorded" if then is None else "cannot be found out here")
    if then == now:
        return Line(what, SAME)
    old, new = then.split(), now.split()
    gone, come = [word for word in old if word not in new], [word for word in new if word not in old]
    return Line(what, DIFFERS, f"was {named(gone)}, now {named(come)}")


def line_of_many(what: str, then: Mapping[str, object], now: Mapping[str, object]) -> Line:
    """Several things compared by name."""
    names = list(dict.fromkeys([*then, *now]))
    other = [name for name in names if name not in then or name not in now or then[name] != now[name]]
    if not other:
        return Line(what, SAME, f"all {len(names)}" if len(names) > 1 else "")
    return Line(what, DIFFERS, f"{len(other)} of {len(names)}: {named(other)}")


def named(words: Collection[str]) -> str:
    """The first few words, and how many more there are."""
    shown = " ".join(_HEX.sub(lambda found: found[0][:12], word) for word in list(words)[:_SHOWN])
    return f"{shown} and {len(words) - _SHOWN} more" if len(words) > _SHOWN else shown or "nothing more"
