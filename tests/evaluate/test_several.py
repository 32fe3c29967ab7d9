"""p values of several comparisons: step-down max-T against its definition, counted out."""

from __future__ import annotations

from itertools import product
from math import sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from sleepy.evaluate import several
from sleepy.evaluate.several import benjamini_hochberg, max_t
from sleepy.evaluate.stats import holm, mcnemar_exact

tables = st.integers(1, 8).flatmap(
    lambda koans: st.lists(
        st.lists(st.sampled_from([-1, 0, 0, 1, 1]), min_size=koans, max_size=koans), min_size=2, max_size=4
    )
)


def statistic(row: tuple[int, ...] | list[int]) -> float:
    changed = sum(abs(c) for c in row)
    return abs(sum(row)) / sqrt(changed) if changed else 0.0


def counted(table: list[list[int]]) -> list[float]:
    """Westfall and Young's algorithm 4.1 as it is written, over every way to give signs to the koans."""
    order = sorted(range(len(table)), key=lambda j: -statistic(table[j]))
    ways = list(product((1, -1), repeat=len(table[0])))
    adjusted, least = [0.0] * len(table), 0.0
    for place, j in enumerate(order):
        rest = [table[i] for i in order[place:]]
        largest = [max(statistic([s * c for s, c in zip(way, row, strict=True)]) for row in rest) for way in ways]
        least = max(least, sum(t >= statistic(table[j]) - 1e-9 for t in largest) / len(ways))
        adjusted[j] = least
    return adjusted


def exact(table: list[list[int]]) -> list[float]:
    return [mcnemar_exact(row.count(1), row.count(-1)) for row in table]


@given(tables)
@settings(max_examples=60)
def test_max_t_counted(table):
    assert max_t(table) == pytest.approx(counted(table), abs=1e-12)


@given(tables)
def test_it_is_never_below_the_comparisons_own_p(table):
    assert all(p >= own for p, own in zip(max_t(table), exact(table), strict=True))


@pytest.mark.parametrize("row", [[1] * 6 + [-1] + [0] * 9, [1] * 20 + [-1] * 4, [0] * 5])
def test_one_comparison_has_mcnemars_exact_p_and_the_same_twice_costs_nothing(row):
    own = mcnemar_exact(row.count(1), row.count(-1))
    assert max_t([row]) == [own]
    assert max_t([row, row]) == pytest.approx([own, own], abs=0.002)


def test_what_is_drawn_is_near_what_is_counted(monkeypatch):
    draw = np.random.default_rng(5).choice([-1, 0, 1], p=[0.1, 0.5, 0.4], size=(6, 13)).tolist()
    whole = max_t(draw)
    assert whole == pytest.approx(counted(draw), abs=1e-12)
    monkeypatch.setattr(several, "ALL_WAYS", 5)
    assert max_t(draw) == max_t(draw) != whole
    assert max_t(draw) == pytest.approx(whole, abs=0.02)
    assert max_t(draw, seed=1) != max_t(draw)


def test_a_drawn_p_is_never_zero_and_independent_comparisons_pay_as_they_should():
    """Three comparisons of other koans each, all fixes: the chance that one of three is so uneven."""
    rows = [[1 if 8 * j <= k < 8 * (j + 1) else 0 for k in range(24)] for j in range(3)]
    assert max_t(rows) == pytest.approx([1 - (1 - 2 / 2**8) ** 3] * 3, abs=0.005)
    assert min(max_t([[1] * 100, [1] * 100])) >= 1 / (several.DRAWS + 1)


def test_correlated_comparisons_cost_less_than_holm():
    """Eight jobs that fix nearly the same koans."""
    rows = [[1] * 8 + [int(k == j) for k in range(8)] for j in range(8)]
    assert max(max_t(rows)) < min(holm(exact(rows))) / 2


def test_the_chance_of_any_false_finding_is_held():
    """300 sweeps of ten jobs that change koans at random."""
    rng, found = np.random.default_rng(11), 0
    for _ in range(300):
        shared = rng.choice([-1, 0, 1], p=[0.25, 0.5, 0.25], size=12)  # the baseline's own luck, in all jobs
        own = rng.choice([-1, 0, 1], p=[0.1, 0.8, 0.1], size=(10, 12))
        found += min(max_t(np.where(own, own, shared).tolist())) < 0.05
    assert found <= binom.isf(0.001, 300, 0.05)


def test_benjamini_hochberg_is_the_papers_example():
    """15 p values of Benjamini and Hochberg 1995: four are found at 0.05, Holm finds three."""
    values = [
        0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459, 0.3240, 0.4262, 0.5719, 0.6528, 0.7590,
        1.0000,
    ]  # fmt: skip
    assert sum(q < 0.05 for q in benjamini_hochberg(values)) == 4
    assert sum(p < 0.05 for p in holm(values)) == 3
    assert benjamini_hochberg(values)[0] == pytest.approx(0.0015)
    assert benjamini_hochberg(values[::-1]) == benjamini_hochberg(values)[::-1]
