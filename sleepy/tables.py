"""Tables: Markdown that stays intact whatever text a cell holds, and plain columns for the terminal."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table


def markdown_table(head: Sequence[str], rows: Iterable[Iterable[str]]) -> str:
    """A Markdown table without a final newline. Cells may hold Markdown (bold, code); see `escaped`."""
    body = ("| " + " | ".join(map(escaped, row)) + " |" for row in (head, *rows))
    return "\n".join([next(body), f"|{'---|' * len(head)}", *body])


def escaped(text: str) -> str:
    """Text on one line that neither ends a table cell nor starts an HTML tag."""
    return re.sub(
        r"(\\*)([|<])", lambda found: 2 * found[1] + {"|": "\\|", "<": "&lt;"}[found[2]], " ".join(text.split())
    )


def picture(title: str, name: str) -> str:
    """A Markdown picture: `name` is the file's, relative to the page."""
    return f"![{title}]({name})"


def terminal_table(head: Sequence[str], rows: Iterable[Iterable[str]]) -> Table:
    """A table without lines for rich's console: a column of words, which is folded if it is too wide, then columns of
    numbers, which are not."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(head[0], overflow="fold")
    for name in head[1:]:
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(*map(Text, row))
    return table
