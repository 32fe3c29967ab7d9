"""Statistics by cluster: against every way to give signs, against every way to draw again, and against scipy."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import bootstrap as scipys
from scipy.stats import permutation_test

from sleepy.evaluate.clusters import Clustered, bootstrap, clustered, sign_flip
from sleepy.evaluate.stats import mcnemar_exact
from sleepy.results import Result, Scores

SIZES = [3, 3, 3, 2, 4, 1, 3, 3, 2, 3, 5, 3, 1, 3]
TOTALS = [2, 0, -1, 1, 3, 0, 1, 0, 2, 1, 4, -1, 1, 2]


def scores(patterns: dict[str, str], passing: str) -> Scores:
    """Koans by pattern: "+" fix, "-" regression, "1" and "0" same; the family is the pattern's first letter."""
    results = tuple(
        Result(f"{pattern}/{i}", pattern[0], pattern, 1, word in passing, ())
        for pattern, words in patterns.items()
        for i, word in enumerate(words)
    )
    return Scores("set", "d", "model", "engine", results, 1.0)


def compared(by: str = "pattern", **patterns: str) -> Clustered:
    return clustered(scores(patterns, "-1"), scores(patterns, "+1"), by)


@given(st.lists(st.integers(-4, 4), max_size=8))
def test_sign_flip_enumerated(totals):
    ways = [abs(sum(s * t for s, t in zip(way, totals, strict=True))) for way in product((1, -1), repeat=len(totals))]
    expected = sum(way >= abs(sum(totals)) for way in ways) / len(ways)
    assert sign_flip(totals) == pytest.approx(expected, abs=1e-12)
    assert sign_flip([-t for t in totals]) == sign_flip(totals)


def test_sign_flip_is_scipys_paired_permutation_test():
    totals = TOTALS[:11]
    ours = permutation_test(
        (totals, [0] * len(totals)), lambda a, b: sum(a) - sum(b), permutation_type="samples", n_resamples=np.inf
    )
    assert sign_flip(totals) == pytest.approx(ours.pvalue, abs=1e-12)


@given(fixes=st.integers(0, 40), regressions=st.integers(0, 40))
def test_with_a_koan_as_the_cluster_it_is_mcnemars_exact_test(fixes, regressions):
    assert sign_flip([1] * fixes + [-1] * regressions) == pytest.approx(mcnemar_exact(fixes, regressions), abs=1e-9)


def test_gains_of_one_pattern_count_once():
    """Six fixes in six patterns are no chance, in one pattern they are one event."""
    apart = compared(**{f"a{i}": "+00" for i in range(6)}, **{f"b{i}": "0" for i in range(6)})
    together = compared(a="++++++", **{f"b{i}": "0" for i in range(18)})
    assert (apart.koans, apart.clusters, together.koans, together.clusters) == (24, 12, 24, 19)
    assert apart.p_value == 2 / 2**6 and together.p_value == 1.0
    assert together.interval[1] - together.interval[0] > apart.interval[1] - apart.interval[0]


def test_the_units_are_patterns_or_families():
    patterns = {"a1": "++0", "a2": "+-", "b1": "+0"}
    assert compared("pattern", **patterns).clusters == 3
    family = compared("family", **patterns)
    assert (family.by, family.clusters, family.p_value) == ("family", 2, 0.5)  # 2 + 1, and of the other sign
    assert family.line == "2 families of 7 koans: sign-flip p = 0.50"
    many = compared(**{f"a{i}": "+0" for i in range(10)}, b="00")
    assert many.line.startswith("11 patterns of 22 koans: sign-flip p = 0.0020, 95 % bootstrap +") and many.interval


@pytest.mark.parametrize(("word", "clusters"), [("10", 12), ("+0", 12)])
def test_no_interval_where_it_would_mislead(word, clusters):
    """All changed alike, or too few clusters."""
    assert compared(**{f"a{i}": word for i in range(clusters)}).interval is None
    assert compared(**{f"a{i}": "+0" for i in range(8)}, b="00").interval is None


def test_the_bootstrap_is_that_of_every_way_to_draw():
    """Of four clusters there are 256 ways: the quantiles of their differences, of which the interval is an estimate."""
    totals, sizes = [3, 1, -1, 4], [3, 5, 4, 6]
    drawn = sorted(sum(totals[i] for i in way) / sum(sizes[i] for i in way) for way in product(range(4), repeat=4))
    assert bootstrap(totals, sizes, draws=200_000) == pytest.approx((drawn[6], drawn[-7]), abs=0.01)


def test_the_bootstrap_is_scipys():
    def difference(totals, sizes, axis):
        return totals.sum(axis=axis) / sizes.sum(axis=axis)

    expected = scipys(
        (np.array(TOTALS), np.array(SIZES)), difference, paired=True, vectorized=True, method="percentile",
        n_resamples=50_000, random_state=1,
    ).confidence_interval  # fmt: skip
    assert bootstrap(TOTALS, SIZES) == pytest.approx((expected.low, expected.high), abs=0.01)
    few = [bootstrap(TOTALS, SIZES, draws=50, seed=seed) for seed in (0, 0, 1)]
    assert few[0] == few[1] != few[2]
    wide = bootstrap(TOTALS, SIZES, 0.99)
    assert wide[0] < bootstrap(TOTALS, SIZES)[0] and bootstrap(TOTALS, SIZES)[1] < wide[1]
