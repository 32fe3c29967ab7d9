"""What kind of error a program has, whatever its names, literals and numbers."""

from __future__ import annotations

import re
from collections.abc import Sequence

from sleepy.artifacts import Check, Diagnostic

_QUOTED = re.compile(r"`([^`]*)`")
_UNIT = re.compile(r"`(?:\(\)|!)`")
_TEXT = re.compile(r'"(?:[^"\\]|\\.)*"')
_NUMBER = re.compile(r"\b\d\w*(?:\.\d\w*)*")
_SEVERAL = re.compile(r"_(?:(?:, | and |, and | or |, or )_)+")
_PLURAL = re.compile(r"\b(argument|field|lifetime|parameter|type)s\b")
_VERB = re.compile(r"\b(are|were|have)\b")
_WORD = re.compile(r"[^\W\d]\w*|\d\w*|[\"']")
_KEYWORDS = frozenset(
    "as async await break const continue crate dyn else enum eof extern fn for if impl in let loop match mod move "
    "mut pub ref return static struct super trait type union unsafe use where while yield".split()
)  # eof: the parser's `<eof>`


def signature(diagnostics: Sequence[Diagnostic]) -> str:
    """The kinds of the errors, each once, sorted, one a line: `E0382 use of moved value: _`. "" without errors.

    What the compiler quotes becomes `_` when it holds a name, a number or a text. Keywords and signs stay, because
    for a syntax error they are the kind. How many things a message names, places, labels and helps do not count.
    """
    return "\n".join(sorted({f"{d.code} {_kind(d)}".strip() for d in diagnostics}))


def _kind(diagnostic: Diagnostic) -> str:
    """A message of the compiler without what belongs to one program."""
    text = diagnostic.message
    if diagnostic.code:
        text = _UNIT.sub("_", text)  # types; in a syntax error, which has no code, they are signs
    text = _TEXT.sub("_", _QUOTED.sub(lambda q: q[0] if set(_WORD.findall(q[1])) <= _KEYWORDS else "_", text))
    text = _SEVERAL.sub("_", _NUMBER.sub("N", " ".join(text.split())))
    return _VERB.sub(lambda verb: {"are": "is", "were": "was", "have": "has"}[verb[0]], _PLURAL.sub(r"\1", text))


def signature_of(check: Check) -> str:
    """The signature of what a sandbox found, "" when the program compiles. A compiler that ended without a diagnostic
    gives the sandbox's own words."""
    return "" if check.compiles else signature(check.diagnostics) or check.detail
