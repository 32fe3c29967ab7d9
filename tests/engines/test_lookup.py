"""Drafts only make decoding faster: they never change what is accepted."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sleepy.engines.lookup import Lookup


def decode(source: list[int], answer: list[int]) -> tuple[list[int], int]:
    """The engine's loop with a model that would say `answer`: (what comes out, how often it was asked)."""
    lookup, out, asked = Lookup(source), [answer[0]], 1
    new, drafted = answer[:1], 0
    while len(out) < len(answer):
        lookup.accept(new, drafted)
        draft = lookup.draft()[: len(answer) - len(out) - 1]
        best = answer[len(out) : len(out) + len(draft) + 1]
        right = next((i for i, t in enumerate(draft) if t != best[i]), len(draft))
        new, drafted = best[: right + 1], len(draft)
        out += new
        asked += 1
    return out, asked


@given(st.lists(st.integers(0, 5), max_size=60), st.lists(st.integers(0, 5), min_size=1, max_size=60))
def test_any_draft_leaves_the_answer_as_it_is(source: list[int], answer: list[int]) -> None:
    assert decode(source, answer)[0] == answer


def test_a_copy_takes_few_calls_also_after_an_edit() -> None:
    source = list(range(200))
    assert decode(source, source)[1] <= 12
    edited = [*source[:60], 900, 901, *source[61:150], *source[170:]]  # a token replaced by two, twenty deleted
    out, asked = decode(source, edited)
    assert out == edited and asked <= 30


def test_after_an_edit_the_nearest_place_goes_on() -> None:
    lookup = Lookup([1, 2, 3, 7, 8, 1, 2, 3, 9])
    lookup.accept([1], 0)
    lookup.accept([2, 3, 7, 8, 5], 8)  # the last is not the source's
    assert lookup.draft() == []
    lookup.accept([1], 0)
    assert lookup.draft()[:3] == [2, 3, 9]
