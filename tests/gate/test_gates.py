"""Both gates' verdicts and reasons, outcomes given by family as strings: "+" fix, "-" regression, "1" and "0" same."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sleepy.artifacts import Result, Scores, Verdict
from sleepy.evaluate.stats import compare
from sleepy.gate.no_loss import NoLoss
from sleepy.gate.significant_gain import SignificantGain
from sleepy.options import problems_of


def decide(gate: NoLoss | SignificantGain, **families: str) -> Verdict:
    def scores(passing: str) -> Scores:
        results = tuple(
            Result(f"{family}/{i}", family, "", 1, word in passing, ())
            for family, words in families.items()
            for i, word in enumerate(words)
        )
        return Scores("set", "d", "model", "engine", results, 1.0)

    before, after = scores("-1"), scores("+1")
    return gate.decide(compare(before, after), before, after)


def test_reason_names_the_numbers():
    verdict = decide(NoLoss(), a="+++-----", b="111" + "0" * 10)
    assert verdict == Verdict(
        False, "refused: 3 fixes, 5 regressions, pass rate 38.1 % -> 28.6 % (p = 0.73): below the baseline", "no_loss"
    )
    assert decide(NoLoss(), a="+0").reason.startswith("promoted: 1 fix, 0 regressions, pass rate 0.0 % -> 50.0 %")


def test_no_loss_takes_a_draw_and_refuses_one_regression_more():
    assert decide(NoLoss(), a="+-10").promoted
    assert decide(NoLoss(), a="1010").promoted
    assert not decide(NoLoss(), a="+--10").promoted


def test_no_loss_refuses_a_family_that_lost_significantly_though_the_rate_rose():
    gains = {"a": "+" * 20, "b": "11", "c": "00", "d": "10"}
    refused = decide(NoLoss(), **gains, e="-" * 8)
    assert not refused.promoted
    assert refused.reason.endswith(
        "not below the baseline, but significant loss in e (0 fixes, 8 regressions, corrected p = 0.0312)"
    )
    # Seven regressions have p = 0.0156, times four: of five families it is the one with the second smallest p.
    assert decide(NoLoss(), **gains, e="-" * 7).promoted
    assert not decide(NoLoss(alpha=0.1), **gains, e="-" * 7).promoted


def test_no_loss_names_each_family_that_lost_and_no_family_that_gained():
    reason = decide(NoLoss(), a="+" * 30, b="-" * 10, c="-" * 9).reason
    assert "b (" in reason and "c (" in reason and "a (" not in reason


def test_significant_gain_wants_more_than_chance():
    assert not decide(SignificantGain(), a="+++++", b="10").promoted  # p = 0.0625
    assert decide(SignificantGain(), a="++++++", b="10").promoted  # p = 0.03125
    assert not decide(SignificantGain(alpha=0.01), a="++++++", b="10").promoted
    weak = decide(SignificantGain(), a="+++++")
    assert weak.reason.endswith("above the baseline, but not significantly (p < 0.05 is asked for)")
    assert weak.rule == "significant_gain"


def test_significant_gain_refuses_a_significant_loss():
    verdict = decide(SignificantGain(), a="-" * 10)
    assert not verdict.promoted
    assert verdict.reason.endswith("not above the baseline")


@given(st.dictionaries(st.sampled_from("abcde"), st.text("+-10", min_size=1, max_size=12), min_size=1))
def test_no_gate_promotes_a_worse_model_and_the_strict_one_promotes_less(families):
    plain, strict = decide(NoLoss(), **families), decide(SignificantGain(), **families)
    fixes, regressions = ("".join(families.values()).count(sign) for sign in "+-")
    if fixes < regressions:
        assert not plain.promoted
    if fixes <= regressions:
        assert not strict.promoted
    for verdict in (plain, strict):
        assert verdict.reason.startswith("promoted" if verdict.promoted else "refused")


@pytest.mark.parametrize("option", [NoLoss, SignificantGain])
def test_alpha_has_bounds(option):
    assert problems_of(option(), "gate") == []
    for alpha in (0.0, 1.0, -1.0):
        assert problems_of(option(alpha=alpha), "gate")[0].startswith(f"gate.alpha: found {alpha}")
