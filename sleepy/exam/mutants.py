"""A fix with one small mistake in it, which a koan's tests should notice: else they are weak, or it is no mistake."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from sleepy.artifacts import Task
from sleepy.rust.tokens import Token, tokens

EACH = 8  # mutants of a fix

_PAIRS = """< <=, > >=, <= <, >= >, == !=, != ==, + -, - +, * +, / *, % /, && ||, || &&, += -=, -= +=, *= +=, .. ..=,
..= .., true false, false true, break continue, continue break, min max, max min, any all, all any, first last,
last first, is_some is_none, is_none is_some, is_ok is_err, is_err is_ok, min_by_key max_by_key, max_by_key min_by_key,
next last, starts_with ends_with, ends_with starts_with, trim trim_start, skip take, take skip, push_str insert_str,
to_uppercase to_lowercase, to_lowercase to_uppercase, checked_add checked_sub, checked_sub checked_add,
saturating_sub saturating_add, saturating_add saturating_sub, rev into_iter, push_back push_front,
pop_front pop_back, pop_back pop_front, Less Greater, Greater Less"""
OTHER = dict(words.split() for words in _PAIRS.replace("\n", " ").split(","))
_NO_STATEMENT = frozenset("let use fn pub type const static struct enum impl trait mod return # ;".split())
_OPEN, _CLOSED = ("(", "[", "{"), (")", "]", "}")


def mutants(task: Task) -> dict[str, str]:
    """Name -> program: EACH of the fix's mutants, drawn by the task's id, or all where there are fewer."""
    found = dict(_mutants(task.fix))
    names = sorted(found)
    return {name: found[name] for name in Random(task.id).sample(names, min(EACH, len(names)))}


def _mutants(program: str) -> Iterator[tuple[str, str]]:
    """Every mutant: an operator, method or truth value replaced by its neighbour, a number one higher or lower, a
    condition negated, a statement left out, two arguments swapped. Many do not compile: `<` also opens generics."""
    stream = tokens(program)
    for i, token in enumerate(stream):
        for start, end, text in (
            *_words(token), *_condition(program, stream, i), *_statement(stream, i), *_arguments(program, stream, i)
        ):  # fmt: skip
            line = program.count("\n", 0, start) + 1
            old, new = (" ".join(part.split())[:30] for part in (program[start:end], text))
            yield f"line {line}, {start}: {old} -> {new or 'nothing'}", program[:start] + text + program[end:]


Change = tuple[int, int, str]


def _words(token: Token) -> Iterator[Change]:
    if token.text in OTHER:
        yield token.start, token.end, OTHER[token.text]
    if token.kind == "number":
        digits = len(token.text) - len(token.text.lstrip("0123456789_"))
        value, rest = int(token.text[:digits].replace("_", "")), token.text[digits:]
        if rest[:1] not in ("x", "b", "o"):
            yield from ((token.start, token.end, f"{n}{rest}") for n in (value + 1, value - 1) if n >= 0)


def _condition(program: str, stream: list[Token], i: int) -> Iterator[Change]:
    """`if a {` as `if !(a) {`."""
    if stream[i].text in ("if", "while") and i + 1 < len(stream) and stream[i + 1].text != "let":
        end = _until(stream, i + 1, "{", "=>")
        inside = [t.text for t in stream[i + 1 : end]]
        if end < len(stream) and inside and "let" not in inside:
            start, stop = stream[i + 1].start, stream[end - 1].end
            yield start, stop, f"!({program[start:stop]})"


def _statement(stream: list[Token], i: int) -> Iterator[Change]:
    """A statement that ends with a semicolon and declares nothing."""
    if i and stream[i - 1].text in ("{", "}", ";") and stream[i].text not in _NO_STATEMENT:
        end = _until(stream, i, ";")
        if end < len(stream) and stream[end].text == ";":
            yield stream[i].start, stream[end].end, ""


def _arguments(program: str, stream: list[Token], i: int) -> Iterator[Change]:
    """The first two arguments of a call."""
    before = [t.text for t in stream[max(0, i - 2) : i]]
    # A signature, a list of traits or a pattern is no call.
    if before and stream[i].text == "(" and stream[i - 1].kind == "word" and not {"fn", "derive", "let"} & set(before):
        comma = _until(stream, i + 1, ",")
        if comma < len(stream) and stream[comma].text == "," and comma + 1 < len(stream):
            end = _until(stream, comma + 1, ",")
            first = program[stream[i + 1].start : stream[comma - 1].end]
            second = program[stream[comma + 1].start : stream[end - 1].end]
            if second and first != second and end > comma + 1:
                yield stream[i + 1].start, stream[end - 1].end, f"{second}, {first}"


def _until(stream: list[Token], i: int, *ends: str) -> int:
    """The place of the first token among `ends` outside of brackets, or of the bracket that closes around `i`."""
    depth = 0
    while i < len(stream):
        text = stream[i].text
        if depth == 0 and (text in ends or text in _CLOSED):
            return i
        depth += (text in _OPEN) - (text in _CLOSED)
        i += 1
    return i
