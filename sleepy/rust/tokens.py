"""Just enough of Rust's grammar to find tokens and function bodies."""

from __future__ import annotations

import re
from dataclasses import dataclass

_TOKEN = re.compile(
    r"""
    (?P<skip>\s+|//[^\n]*|/\*.*?\*/)
  | (?P<string>b?r(?P<hash>\#*)".*?"(?P=hash)|[bc]?"(?:\\.|[^"\\])*")
  | (?P<char>b?'(?:\\(?:x[0-9a-fA-F]{2}|u\{[^}]*\}|.)|[^'\\])')
  | (?P<lifetime>'[A-Za-z_]\w*)
  | (?P<number>\d[\w]*(?:\.\d[\w]*)?)
  | (?P<word>(?:r\#)?[A-Za-z_]\w*)
  | (?P<mark>->|=>|::|\.\.=|\.\.|&&|\|\||[-+*/%^&|!=<>]=|<<|>>|.)
""",
    re.VERBOSE | re.DOTALL,
)

KEYWORDS = frozenset(
    """as async await break const continue crate dyn else enum extern false fn for gen if impl in let loop
match mod move mut pub ref return self Self static struct super trait true type unsafe use where while""".split()
)


@dataclass(frozen=True)
class Token:
    """A token with its kind (string, char, lifetime, number, word, mark) and its place in the text."""

    kind: str
    text: str
    start: int
    end: int


def tokens(program: str) -> list[Token]:
    """The program's tokens, without comments and white space."""
    found = []
    for match in _TOKEN.finditer(program):
        kind = match.lastgroup or "mark"
        if kind == "hash":
            kind = "string"
        if kind != "skip":
            found.append(Token(kind, match.group(), match.start(), match.end()))
    return found


def normal(program: str) -> str:
    """A program without its comments and white space."""
    return " ".join(token.text for token in tokens(program))


def anonymous(program: str) -> list[str]:
    """Token texts with every name, lifetime and literal replaced by its kind: what is left is the program's shape."""
    return [t.text if t.kind == "mark" or t.text in KEYWORDS else t.kind for t in tokens(program)]


_DECLARING = frozenset("const enum fn for let mod mut ref static struct trait type".split())


def with_library_names(program: str) -> list[str]:
    """Token texts as of `anonymous`, but names that the program does not declare stay: what it uses of libraries is
    left. A name counts as declared after a keyword that declares and before a colon (a field, a parameter); variants
    and names in patterns are not found."""
    stream = tokens(program)
    after = [*(t.text for t in stream[1:]), ""]
    before = ["", *(t.text for t in stream)]
    words = [t.kind == "word" and t.text not in KEYWORDS for t in stream]
    declared = {
        t.text
        for t, word, b, a in zip(stream, words, before, after, strict=False)
        if word and (b in _DECLARING or a == ":")
    }
    return [
        t.text if t.kind == "mark" or t.text in KEYWORDS or (word and t.text not in declared) else t.kind
        for t, word in zip(stream, words, strict=True)
    ]


@dataclass(frozen=True)
class Function:
    """A function with a body: `start` and `end` are the places just inside its braces."""

    name: str
    start: int
    end: int


def functions(program: str) -> list[Function]:
    """Every function with a body, methods and nested ones included, in order of their names' appearance."""
    found, stream = [], tokens(program)
    for i, token in enumerate(stream):
        if token.text != "fn" or i + 1 >= len(stream) or stream[i + 1].kind != "word":
            continue
        body = _body(stream, i + 2)
        if body is not None:
            found.append(Function(stream[i + 1].text, *body))
    return found


def _body(stream: list[Token], i: int) -> tuple[int, int] | None:
    """The braces that follow a signature; None where it ends with a semicolon (a declaration)."""
    depth = 0  # of parentheses and brackets: the body's brace stands outside of them
    while i < len(stream):
        text = stream[i].text
        if text in "([":
            depth += 1
        elif text in ")]":
            depth -= 1
        elif depth == 0 and text == ";":
            return None
        elif depth == 0 and text == "{":
            return _closing(stream, i)
        i += 1
    return None


def _closing(stream: list[Token], i: int) -> tuple[int, int] | None:
    start, depth = stream[i].end, 0
    for token in stream[i:]:
        depth += (token.text == "{") - (token.text == "}")
        if depth == 0:
            return start, token.start
    return None
