"""rustc's own suggestions, applied to the program that they are about."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from sleepy.artifacts import Diagnostic, Edit


def with_fixes(program: str, diagnostics: Sequence[Diagnostic]) -> str:
    """The program after the first suggestion of each error. One that touches a place which an earlier error's changes
    is left out: the next round of compiling may make it again."""
    edits: list[Edit] = []
    for fix in (d.fixes[0] for d in diagnostics if d.fixes):
        if not any(edit.touches(taken) for edit in fix for taken in edits):
            edits += fix
    return _edited(program, edits)


def suggested(program: str, diagnostics: Sequence[Diagnostic]) -> Iterator[str]:
    """The programs that rustc's suggestions lead to: the first of each error together, then each alone."""
    yield with_fixes(program, diagnostics)
    for diagnostic in diagnostics:
        for fix in diagnostic.fixes:
            yield _edited(program, fix)


def _edited(program: str, edits: Iterable[Edit]) -> str:
    text = program.encode()
    for edit in sorted(edits, reverse=True):  # from the end backwards, so that places stay
        text = text[: edit.start] + edit.text.encode() + text[edit.end :]
    return text.decode()
