"""The figures of an evaluation, by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sleepy.evaluate.metrics import summary
from sleepy.exam.builtin import frozen
from sleepy.exam.strata import stratum_of
from sleepy.results import Attempt, Result, Scores


def attempt(stage: str, signature: str = "", tokens: int = 10) -> Attempt:
    return Attempt("", "", stage, (), tokens, tokens, 0.5, signature)


def scores(*results: Result) -> Scores:
    return Scores("t", "d", "m", "e", results, 9.0)


RED, GREEN, WRONG = attempt("compile", "E1"), attempt("passed"), attempt("test")
THREE = scores(
    Result("a", "x", "p", 1, True, (RED, attempt("compile", "E2"), GREEN), 2, (False, False, True)),
    Result("b", "x", "p", 2, False, (RED, RED, WRONG), 2, (False, False, False)),
    Result("c", "y", "p", 1, True, (GREEN,), 0, (True,)),
    Result("d", "y", "p", 1, False, (WRONG, GREEN), 0, (False, False)),  # it chose the wrong one
)


def test_rates_within_attempts_and_steps() -> None:
    found = summary(THREE)
    assert found["pass_rate"] == 0.5 and found["compile_rate"] == 1.0
    within = [found[f"pass_within/{k}"] for k in (1, 2, 3)]
    assert within == [0.25, 0.25, 0.5] and "pass_within/4" not in found
    assert found["median_steps"] == 2
    assert summary(scores(Result("a", "x", "p", 1, False, (RED, GREEN), 0, (False, False))))["compile_rate"] == 0


def test_rates_by_stratum_are_those_of_koans_whose_stratum_is_known() -> None:
    first = {stratum_of(t.id): t.id for t in frozen("koans")}
    results = [Result(task, "x", "p", 1, stratum == "shown", ()) for stratum, task in first.items()]
    found = summary(scores(*results, Result("own", "x", "p", 1, True, ())))
    rates = {key: rate for key, rate in found.items() if key.startswith("stratum/")}
    names = ("shown", "suggested", "neither")
    assert rates == {f"stratum/{name}/pass_rate": name == "shown" for name in names}
    assert not [key for key in summary(THREE) if key.startswith("stratum/")]


def test_answers_that_were_cut_are_counted() -> None:
    cut = replace(RED, cut=True)
    assert summary(THREE)["cut"] == 0
    assert summary(scores(Result("a", "x", "p", 1, True, (cut, GREEN, cut), 1, (False, True, True))))["cut"] == 2


def test_a_repeated_error_is_one_with_the_signature_of_the_attempt_before() -> None:
    assert summary(THREE)["repeat_error_rate"] == 1 / 5  # two programs that compile are no repeated error
    assert "repeat_error_rate" not in summary(scores(Result("c", "y", "p", 1, True, (GREEN,), 0, (True,))))


def test_what_a_fix_costs_counts_the_failures_too() -> None:
    found = summary(THREE)
    assert found["tokens_per_fix"] == 9 * 20 / 2 and found["seconds_per_fix"] == pytest.approx(9 * 0.5 / 2)
    assert found["family/x/tokens_per_fix"] == 6 * 20 and found["family/y/seconds_per_fix"] == 1.5
    none = summary(scores(Result("b", "x", "p", 2, False, (RED,), 0, (False,))))
    assert not {key for key in none if key.endswith("_per_fix")} and "median_steps" not in none


def test_scores_without_attempts_have_the_rates_all_the_same() -> None:
    assert summary(scores(Result("b", "x", "p", 2, True, ())))["pass_rate"] == 1
