"""Escapes from what Rust guarantees: a repair that takes one silences the compiler where it should listen."""

from __future__ import annotations

from sleepy.rust.tokens import tokens

ESCAPES = frozenset(("unsafe", "leak", "transmute", "transmute_copy", "forget"))


def escapes(program: str, reference: str) -> bool:
    """Whether a program uses `unsafe`, a transmute or a leak, as a word of its own, that the reference does without."""
    return bool(_used(program) - _used(reference))


def _used(program: str) -> frozenset[str]:
    return ESCAPES & {token.text for token in tokens(program)}
