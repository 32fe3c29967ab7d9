"""Drawn answers: how they are asked for, and what their mean pass rate says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from sleepy.artifacts import BaseModel, Task, TaskSet
from sleepy.evaluate.candidates import Base
from sleepy.evaluate.samples import gain, mean_interval, rate_interval, sampled_rate
from sleepy.evaluate.settings import Evaluate
from sleepy.evaluate.stats import mcnemar_exact, wilson
from sleepy.repair.ensemble import Ensemble
from sleepy.repair.single_shot import SingleShot
from sleepy.results import Attempt, Result, Scores
from sleepy.sandbox.checker import Checker
from tests.evaluate.test_examiner import examiner
from tests.repair.recorded import Recorded

BASE = Base(BaseModel("m", Path(), Path(), Path(), "d"))


def drawn(passed: Sequence[int], samples: int) -> Scores:
    """So many passing answers of `samples` to each koan."""
    results = []
    for i, count in enumerate(passed):
        stages = ["passed"] * count + ["test"] * (samples - count)
        attempts = tuple(Attempt("", "", stage, (), 1, 1, 0.1) for stage in stages)
        results.append(Result(str(i), "f", "p", 1, count > 0, attempts, 0))
    return Scores("t", "d", "m", "e", tuple(results), 1.0)


def test_each_koan_s_question_is_asked_for_all_its_answers_before_the_next(
    koan: Task, checker: Checker, tmp_path: Path
) -> None:
    tasks = TaskSet("t", "1", (koan, replace(koan, id="b", description="Another one.")))
    asks = examiner(tmp_path, checker, [])
    settings = Evaluate(samples=3, temperature=0.7)

    def draw(settings: Evaluate, *answers: str) -> tuple[Scores | None, list]:
        engine = Recorded(list(answers))
        return replace(asks, engine=engine).draw(BASE, tasks, settings, "draw"), engine.asked

    scores, asked = draw(settings, koan.fix, koan.broken, koan.fix, *[koan.broken] * 3)
    assert scores and [len(r.attempts) for r in scores.results] == [3, 3]
    assert sampled_rate(scores).mean == pytest.approx((2 / 3 + 0) / 2)
    assert [p.messages for p in asked[:3]] == [asked[0].messages] * 3 != [p.messages for p in asked[3:]]
    assert {p.temperature for p in asked} == {0.7} and len({p.seed for p in asked}) == 6
    assert draw(settings) == (scores, [])  # from the cache
    more, asked_then = draw(Evaluate(samples=4, temperature=0.7), *[koan.broken] * 8)
    assert more and asked_then[:3] == asked[:3]  # the same answers, and one more
    assert draw(Evaluate(), koan.fix) == (None, [])


def test_it_is_the_strategy_s_first_question(koan: Task, checker: Checker, tmp_path: Path) -> None:
    engine, one = Recorded([koan.fix] * 3), TaskSet("t", "1", (koan,))
    for repair in (SingleShot(ask="Please."), Ensemble(ask="Please.")):
        asks = replace(examiner(tmp_path, checker, []), engine=engine, repair=repair)
        asks.draw(BASE, one, Evaluate(samples=1), "draw")
    assert len(engine.asked) == 1  # without adapters an ensemble is the same question: the cache knows the answer
    assert engine.asked[0].messages[-1]["content"].endswith("Please.")
    asks = replace(examiner(tmp_path, checker, []), engine=engine, repair=SingleShot(rustfix_first=True))
    settled = asks.draw(BASE, one, Evaluate(samples=5), "draw")
    assert settled and sampled_rate(settled).mean == 1 and len(engine.asked) == 1  # rustc repairs it: nothing is asked


def test_the_interval_is_wilson_s_for_as_many_answers_as_the_koans_are_worth() -> None:
    many, high = [0.0, 1.0] * 5000, 8
    low, up = rate_interval(many, high)  # a koan's answers are all alike: 10,000 answers, not 80,000
    assert (low, up) == pytest.approx(wilson(5000, 10_000), abs=1e-4)
    apart = [i % 2 / 2 + 0.25 for i in range(10_000)]  # koans hardly differ: s^2 = 1/16, four times as many answers
    assert rate_interval(apart, high) == pytest.approx(wilson(20_000, 40_000), abs=1e-4)
    assert rate_interval([0.5] * 10_000, high) == pytest.approx(wilson(40_000, 80_000), abs=1e-4)  # no more than all
    none = rate_interval([0.0] * 20, 8)
    assert none[0] == 0 and wilson(0, 20)[1] < none[1] < 0.2  # no point, and no better than a koan an answer
    assert rate_interval([1.0] * 20, 8) == pytest.approx((1 - none[1], 1))
    assert rate_interval([0.5], 8) == (0, 1) and mean_interval([0.5]) == (-1, 1)


def test_it_holds_the_truth_where_koans_differ_as_they_do() -> None:
    """42 koans whose own rates are from a Beta distribution, 8 answers each: an interval that takes answers for the
    units holds the mean in 60 of 100, this one in 95."""
    import numpy as np

    rng, truth, trials = np.random.default_rng(0), 0.3, 400
    own = rng.beta(0.3, 0.7, (trials, 42))
    rates = rng.binomial(8, own) / 8
    held = [low <= truth <= high for low, high in (rate_interval(list(map(float, row)), 8) for row in rates)]
    naive = [low <= truth <= high for low, high in (wilson(float(row.sum()) * 8, 42 * 8) for row in rates)]
    assert 0.92 <= sum(held) / trials <= 0.98 and sum(naive) / trials < 0.75


def test_with_one_answer_a_koan_the_test_is_mcnemar_s() -> None:
    before, after = drawn([0] * 8 + [1] * 2 + [0] * 30, 1), drawn([1] * 8 + [0] * 2 + [0] * 30, 1)
    assert gain(before, after).p_value == pytest.approx(mcnemar_exact(8, 2))


def test_a_gain_is_paired_by_koan() -> None:
    before, after = drawn([0, 1, 2, 3, 4, 4, 0, 1], 4), drawn([1, 2, 3, 4, 4, 4, 1, 2], 4)
    found = gain(before, after)
    assert found.mean == pytest.approx(6 / 32) and found.p_value == pytest.approx(2 / 2**6)
    assert 0 < found.low < found.mean < found.high
    rate = sampled_rate(before)  # koans differ more from each other than before from after
    assert (rate.koans, rate.samples, rate.mean) == (8, 4, 15 / 32)
    assert rate.high - rate.low > 2 * (found.high - found.low)
    settled = replace(
        after.results[0], attempts=after.results[0].attempts[:1]
    )  # passes without a model: all its answers
    assert gain(before, replace(after, results=(settled, *after.results[1:]))).mean == pytest.approx(9 / 32)
