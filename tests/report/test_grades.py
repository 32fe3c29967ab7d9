"""How far answers come, and what drawn ones say, on page and terminal."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import cycle

from sleepy.evaluate.samples import Drawn
from tests.report.made import paged, pair, printed, summary


def graded(scores, *answers):
    """The scores with a last attempt of (blocks of 4, edited, unsafe) in each koan, in turn."""
    results = []
    for r, (blocks, edited, unsafe) in zip(scores.results, cycle(answers), strict=False):
        last = replace(r.attempts[-1], blocks=blocks, tests=4, edited=edited, unsafe=unsafe)
        results.append(replace(r, attempts=(*r.attempts[:-1], last)))
    return replace(scores, results=tuple(results))


def test_how_far_answers_come_is_a_row_for_each_evaluation(tmp_path):
    before, after = pair({"a": "0+1+"})
    before = graded(before, (0, False, False), (1, True, False), (4, True, True), (2, True, False))
    after = graded(after, (0, True, True), (4, True, False), (4, True, True), (4, True, False))
    run = summary({"a": "0+1+"}, before=before, after=after)
    text, shown = paged(run, tmp_path), printed(run, tmp_path)
    assert "| rustfix | unknown | 25 % | unknown | 25 % | unknown |" in text  # scored by an earlier version
    assert "| baseline | 75 % | 25 % | 44 % | 25 % | 1 (1 pass) |" in text
    assert "| trained | 100 % | 75 % | 75 % | 75 % | 2 (1 pass) |" in text
    assert re.search(r"^baseline +75 % +25 % +44 % +25 % +1 \(1 pass\)$", shown, re.MULTILINE)
    unknown = graded(before, (None, True, False))
    assert "| baseline | 100 % | 25 % | unknown | 25 % | 0 |" in paged(replace(run, before=unknown), tmp_path)


def test_drawn_answers_have_an_interval_and_a_paired_comparison(tmp_path):
    before, after = pair({"a": "0+1+++++"})
    drawn = Drawn(
        0.8,
        *(
            replace(s, results=tuple(replace(r, attempts=r.attempts[-1:] * 8) for r in s.results))
            for s in (before, after)
        ),
    )
    run = summary(drawn=drawn)
    shown = printed(run, tmp_path)
    for words in (
        "8 answers a koan drawn at temperature 0.8, mean pass rates with 95 % intervals\n",
        "baseline 12.5 % (", "difference +75.0 points (", "), sign-flip p = 0.0312 over 8 koans\n",
    ):  # fmt: skip
        assert words in shown and words.strip() in paged(run, tmp_path)
    assert max(map(len, shown.split("\nreport ")[0].splitlines())) <= 80
    assert "koan drawn" not in printed(summary(), tmp_path)
