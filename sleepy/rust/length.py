"""How long a text is for a model whose tokenizer is not at hand."""

from __future__ import annotations

import re

# What tokenizers part first: a word with the space before it, a digit, a sign with the space before it, other spaces.
_PART = re.compile(r" ?[A-Za-z]+|\d| ?[^\sA-Za-z\d]|\s+")
_LETTERS = 4  # of a word a token, at the least


def at_most_tokens(text: str) -> int:
    """An upper estimate of a text's tokens, for byte-level tokenizers that part digits (Qwen2.5, SmolLM2): one for
    every four letters of a word, a digit, a sign of ASCII, a run of spaces, and a byte of any other sign. Rust and
    rustc's messages have 0.5 to 1.0 times as many."""
    parts = (part.removeprefix(" ") or part for part in _PART.findall(text))
    return sum(
        -(-len(p) // _LETTERS) if p.isascii() and p.isalpha() else 1 if p.isspace() else len(p.encode()) for p in parts
    )
