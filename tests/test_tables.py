"""Markdown tables, read back by a Markdown parser."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from sleepy.tables import markdown_table

words = st.text("ab |<>\\\n", max_size=8)


def read(text: str) -> list[list[str]]:
    """The cells of a page that is one table, as a reader sees them."""
    tokens = MarkdownIt("commonmark").enable("table").parse(text)
    assert tokens[0].type == "table_open" and tokens[-1].type == "table_close"
    rows: list[list[str]] = []
    for token in tokens:
        if token.type == "tr_open":
            rows.append([])
        elif token.type == "inline":
            assert not any(child.type.startswith("html") for child in token.children)
            rows[-1].append("".join(child.content for child in token.children))
    return rows


@given(st.lists(st.tuples(words, words, words), max_size=4))
def test_a_table_stays_whole_whatever_its_cells_hold(rows: list[tuple[str, str, str]]) -> None:
    found = read(markdown_table(["one", "two", "three"], rows))
    assert [len(row) for row in found] == [3] * (1 + len(rows))
    for row, cells in zip(rows, found[1:], strict=True):
        for text, cell in zip(row, cells, strict=True):
            if "\\\\" not in text and "\\>" not in text:  # Markdown's own escapes are left to the caller
                assert cell == " ".join(text.split())
