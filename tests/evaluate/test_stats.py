"""The paired statistics, against their definitions and against scipy."""

from __future__ import annotations

import math
from itertools import product

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.stats import binom, binomtest, false_discovery_control

from sleepy.errors import DataError
from sleepy.evaluate.stats import (
    changes_by_family,
    compare,
    detectable,
    holm,
    mcnemar_exact,
    mcnemar_mid,
    p_text,
    score_interval,
    wilson,
)
from sleepy.results import Result, Scores

counts = st.integers(0, 60)
p_values = st.lists(st.floats(0, 1), min_size=1, max_size=8)


def scores(outcomes: dict[str, bool], digest: str = "d1") -> Scores:
    """Scores of tasks named "family/number"."""
    results = tuple(Result(task, task.split("/")[0], "", 1, passed, ()) for task, passed in outcomes.items())
    return Scores("set", digest, "model", "engine", results, 1.0)


@given(total=st.integers(1, 300), data=st.data(), confidence=st.sampled_from([0.8, 0.95, 0.99]))
def test_wilson_is_scipys(total, data, confidence):
    passed = data.draw(st.integers(0, total))
    expected = binomtest(passed, total).proportion_ci(confidence, method="wilson")
    assert wilson(passed, total, confidence) == pytest.approx((expected.low, expected.high), abs=1e-12)


@given(total=st.integers(1, 300), data=st.data())
def test_wilson_holds_the_rate_mirrors_and_narrows(total, data):
    passed = data.draw(st.integers(0, total))
    low, high = wilson(passed, total)
    assert 0 <= low <= passed / total <= high <= 1
    mirrored = wilson(total - passed, total)
    assert (1 - mirrored[1], 1 - mirrored[0]) == pytest.approx((low, high))
    wide, narrow = wilson(passed, total, 0.99), wilson(4 * passed, 4 * total)
    assert wide[1] - wide[0] > high - low > narrow[1] - narrow[0]


def test_wilson_of_nothing_and_of_nonsense():
    assert wilson(0, 0) == (0.0, 1.0)
    with pytest.raises(ValueError, match="must be 0 to 2, not 3"):
        wilson(3, 2)


@given(fixes=st.integers(0, 7), regressions=st.integers(0, 7))
def test_mcnemar_enumerated(fixes, regressions):
    """Of all equally likely ways in which the changed tasks may fall, the share that is at least as lopsided."""
    changed = fixes + regressions
    ways = [abs(2 * sum(way) - changed) for way in product((0, 1), repeat=changed)]
    extreme = sum(way >= abs(fixes - regressions) for way in ways)
    assert mcnemar_exact(fixes, regressions) == pytest.approx(extreme / len(ways))


@given(fixes=counts, regressions=counts)
def test_mcnemar_is_symmetric_and_falls_with_lopsidedness(fixes, regressions):
    p = mcnemar_exact(fixes, regressions)
    assert p == mcnemar_exact(regressions, fixes)
    if fixes > regressions:
        assert mcnemar_exact(fixes + 1, regressions) < p
        if regressions:
            assert mcnemar_exact(fixes + 1, regressions - 1) < p
    if fixes == regressions:
        assert p == 1


@pytest.mark.parametrize(("one", "other", "exact", "mid"), [(1, 7, 0.0703, 0.0391), (6, 16, 0.0525, 0.0347)])
def test_mid_p_is_the_published_one(one, other, exact, mid):
    """Two studies in Fagerland, Lydersen and Laake 2013: airways of 21 children, complete response of 161 patients."""
    assert mcnemar_exact(one, other) == pytest.approx(exact, abs=5e-5)
    assert mcnemar_mid(one, other) == mcnemar_mid(other, one) == pytest.approx(mid, abs=5e-5)


@given(fixes=st.integers(0, 7), regressions=st.integers(0, 7))
def test_mid_p_enumerated(fixes, regressions):
    """More lopsided ways count whole, equally lopsided ones half."""
    changed, observed = fixes + regressions, abs(fixes - regressions)
    ways = [abs(2 * sum(way) - changed) for way in product((0, 1), repeat=changed)]
    counted = sum((way > observed) + (way == observed) / 2 for way in ways) / len(ways)
    assert mcnemar_mid(fixes, regressions) == pytest.approx(counted if changed else 1.0)


@given(p_values)
def test_holm_is_its_definition(values):
    adjusted = holm(values)
    for i, p in enumerate(values):
        steps = [min(1.0, sum(q >= v for q in values) * v) for v in values if v <= p]
        assert adjusted[i] == pytest.approx(max(steps))


@given(p_values)
def test_holm_lies_between_the_false_discovery_rate_and_bonferroni(values):
    fdr = false_discovery_control(values)
    for p, low, plain in zip(holm(values), fdr, values, strict=True):
        assert low - 1e-12 <= p <= min(1.0, len(values) * plain) + 1e-12


def outcomes(fixes: int, regressions: int, same: int) -> tuple[list[bool], list[bool]]:
    before = [False] * fixes + [True] * regressions + [i % 2 == 0 for i in range(same)]
    after = [True] * fixes + [False] * regressions + [i % 2 == 0 for i in range(same)]
    return before, after


def tango_by_likelihood(n: int, fixes: int, regressions: int) -> tuple[float, float]:
    """The interval from Tango's definition: the nuisance rate by maximising the likelihood itself, no closed form."""
    from scipy.optimize import brentq, minimize_scalar

    def statistic(d: float) -> float:
        def unlikely(q: float) -> float:
            rates = ((fixes, q + d), (regressions, q), (n - fixes - regressions, 1 - 2 * q - d))
            return -sum(k * math.log(max(p, 1e-300)) for k, p in rates if k)

        bounds = (max(0.0, -d), (1 - d) / 2)
        q = minimize_scalar(unlikely, bounds=bounds, method="bounded", options={"xatol": 1e-12}).x
        return (fixes - regressions - n * d) / math.sqrt(n * (2 * q + d * (1 - d)))

    z, found = 1.959963984540054, (fixes - regressions) / n
    low = brentq(lambda d: statistic(d) - z, -0.999, found - 1e-7)
    return low, brentq(lambda d: statistic(d) + z, found + 1e-7, 0.999)


@pytest.mark.parametrize("counts", [(42, 11, 1), (50, 4, 12), (159, 42, 3), (30, 1, 12), (210, 34, 20)])
def test_the_score_interval_is_tangos(counts):
    assert score_interval(*counts) == pytest.approx(tango_by_likelihood(*counts), abs=1e-5)


def test_the_score_interval_is_no_point_where_nothing_changed():
    low, high = score_interval(42, 0, 0)
    assert (low, high) == pytest.approx((-0.0838, 0.0838), abs=1e-4)  # z^2 / (n + z^2)
    assert high == pytest.approx(1.959964**2 / (42 + 1.959964**2), abs=1e-6)
    with pytest.raises(ValueError, match="impossible counts"):
        score_interval(3, 2, 2)


@given(st.integers(1, 300), st.data())
def test_the_score_interval_holds_the_difference_and_is_symmetric(n, data):
    fixes = data.draw(st.integers(0, n))
    regressions = data.draw(st.integers(0, n - fixes))
    low, high = score_interval(n, fixes, regressions)
    assert -1 <= low <= (fixes - regressions) / n <= high <= 1
    assert score_interval(n, regressions, fixes) == pytest.approx((-high, -low), abs=1e-9)
    wider = score_interval(n, fixes, regressions, confidence=0.99)
    assert wider[0] <= low + 1e-9 and high <= wider[1] + 1e-9


def power_of(gain: float, n: int, discordant: int, alpha: float) -> float:
    """Summed over every possible count of fixes and regressions, with the test itself deciding on each."""
    rate = max(discordant / n, gain)
    fix, loss = (rate + gain) / 2, (rate - gain) / 2
    return sum(
        binom.pmf(f, n, fix) * binom.pmf(r, n - f, min(1.0, loss / (1 - fix)) if fix < 1 else 0)
        for f in range(n + 1)
        for r in range(n + 1 - f)
        if f > r and mcnemar_exact(f, r) < alpha
    )


@pytest.mark.parametrize(
    ("n", "discordant", "alpha", "power"),
    [
        (6, 0, 0.05, 0.8),
        (9, 9, 0.05, 0.8),
        (14, 4, 0.05, 0.8),
        (50, 40, 0.05, 0.8),
        (20, 8, 0.1, 0.5),
        (20, 8, 0.0625, 0.9),
    ],
)
def test_detectable_has_the_power_and_nothing_smaller_has(n, discordant, alpha, power):
    gain = detectable(n, discordant, alpha, power)
    assert power_of(gain, n, discordant, alpha) == pytest.approx(power, abs=1e-4)
    assert power_of(gain - 0.01, n, discordant, alpha) < power


@given(n=st.integers(1, 150), data=st.data())
@example(n=6, data=None)
@settings(max_examples=60)
def test_detectable_shrinks_with_the_set(n, data):
    discordant = data.draw(st.integers(0, n)) if data else 0
    gain = detectable(n, discordant)
    if n < 6:
        assert gain == math.inf
    else:
        assert 0 < gain <= 1
        assert detectable(4 * n, 4 * discordant) < gain


def test_detectable_by_hand():
    """Of six tasks all must change for the better, which has the chance gain^6. A larger share of changed tasks hides
    more, a larger set less."""
    assert detectable(6, 0) == pytest.approx(0.8 ** (1 / 6), abs=1e-5)
    assert detectable(210, 10) < detectable(210, 50) < detectable(42, 10)


def test_detectable_nears_the_normal_approximation():
    """n d^2 = (z_0.975 sqrt(c) + z_0.8 sqrt(c - d^2))^2: R. J. Connor, Biometrics 43 (1987), 207-211."""
    gain, share = detectable(10_000, 2_400), 0.24
    assert 100 * gain == pytest.approx(1.96 * share**0.5 + 0.8416 * (share - gain**2) ** 0.5, rel=0.01)


def test_compare():
    before = scores({"a/1": True, "a/2": False, "b/1": False, "b/2": True} | {f"c/{i}": i > 3 for i in range(16)})
    after = scores({"a/1": False, "a/2": True, "b/1": True, "b/2": True} | {f"c/{i}": i > 1 for i in range(16)})
    c = compare(before, after)
    assert (c.fixes, c.regressions) == (("a/2", "b/1", "c/2", "c/3"), ("a/1",))
    assert c.difference == pytest.approx(after.pass_rate - before.pass_rate) == pytest.approx(0.15)
    assert (c.p_value, c.mid_p) == (mcnemar_exact(4, 1), mcnemar_mid(4, 1))
    assert c.interval[0] <= 0.15 <= c.interval[1]
    assert c.detectable == detectable(20, 5) < math.inf
    assert detectable(20, 4) != c.detectable
    assert changes_by_family(c, before) == {"a": (1, 1), "b": (1, 0), "c": (2, 0)}
    back = compare(after, before)
    assert (back.fixes, back.regressions, back.p_value) == (c.regressions, c.fixes, c.p_value)


@pytest.mark.parametrize(
    ("after", "digest", "words"),
    [
        ({"a/1": True, "a/3": True}, "d2", "number 2 is task 'a/2' before and task 'a/3' after"),
        ({"a/1": True}, "d2", "number 2 is task 'a/2' before and no task after"),
        ({"a/1": True, "a/2": True, "a/3": True}, "d2", "number 3 is no task before and task 'a/3' after"),
        ({"a/2": True, "a/1": True}, "d2", "number 1 is task 'a/1' before and task 'a/2' after"),
        ({"a/1": True, "a/2": True}, "d2", "contents differ"),
    ],
)
def test_compare_refuses_other_tasks(after, digest, words):
    with pytest.raises(DataError, match=words) as caught:
        compare(scores({"a/1": True, "a/2": False}), scores(after, digest))
    assert "before d1, after d2" in str(caught.value)


def test_compare_refuses_nothing():
    with pytest.raises(DataError, match="no tasks"):
        compare(scores({}), scores({}))


@pytest.mark.parametrize(
    ("p", "words"),
    [(1.0, "p = 1.00"), (0.7266, "p = 0.73"), (0.0496, "p = 0.0496"), (0.0078, "p = 0.0078"), (0.0009, "p < 0.001")],
)
def test_p_text(p, words):
    assert p_text(p) == words
