"""The pictures of real Scores: every koan and figure is where it belongs, and nothing leaves the picture."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sleepy.report import plots
from sleepy.report.summary import rows
from tests.report.made import FAMILIES, check_texts, pair, summary

words = st.tuples(st.text("+-10", min_size=1, max_size=8), st.integers(1, 20)).map(lambda w: w[0] * w[1])
OUTCOME = {"+": "gained", "-": "lost", "1": "both", "0": "neither"}


@given(st.dictionaries(st.sampled_from(["a", "b", "c"]), words, min_size=1))
@settings(max_examples=15, deadline=None)
def test_grid_draws_every_koan_once_in_its_family_and_level(families):
    figure = plots.koans(*pair(families))
    panels = {axes.get_xticklabels()[0].get_text(): axes for axes in figure.axes}
    assert sum(axes.get_xlim()[1] for axes in figure.axes) <= plots.WIDEST + 3
    for level in {i % 3 + 1 for found in families.values() for i in range(len(found))}:
        axes = panels.pop(f"level {level}")
        assert len({patch.get_xy() for patch in axes.patches}) == len(axes.patches)
        drawn = [patch.get_gid() for patch in sorted(axes.patches, key=lambda p: (p.get_y(), p.get_x()))]
        assert drawn == [OUTCOME[w] for found in families.values() for w in found[level - 1 :: 3]]
    assert not panels


def test_grid_counts_agree_with_the_comparison():
    run = summary({name: words * 10 for name, words in FAMILIES.items()})
    figure = plots.koans(run.before, run.after)
    drawn = Counter(patch.get_gid() for axes in figure.axes for patch in axes.patches)
    assert drawn == {"both": 60, "neither": 80, "gained": 50, "lost": 20}
    assert (drawn["gained"], drawn["lost"]) == (len(run.comparison.fixes), len(run.comparison.regressions))
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend == ["passed before and after: 60", "failed before and after: 80", "+ gained: 50", "− lost: 20"]
    symbols = Counter(text.get_text() for axes in figure.axes for text in axes.texts)
    assert (symbols["+"], symbols["−"]) == (50, 20)
    (beside,) = figure.axes[-1].child_axes
    assert [label.get_text() for label in beside.get_yticklabels()][:2] == ["40 → 50 of 90", "40 → 60 of 90"]


def test_bars_show_each_rate_with_its_interval():
    run = summary(delivered=pair(FAMILIES)[0])
    axes = plots.families(rows(run), list(run.evaluations)).axes[0]
    assert [bar.get_width() for bar in axes.patches] == pytest.approx(
        [100 * row.passed[i] / row.total for i in range(3) for row in rows(run)]
    )
    assert axes.get_xlim() == (0, 100)
    ends = axes.collections[0].get_segments()  # the baseline's intervals
    assert ends[0][:, 0] == pytest.approx([20.8, 59.1], abs=0.05)
    assert ends[3][:, 0] == pytest.approx([0, 56.1], abs=0.05)


def test_learning_curve_is_smoothed_only_if_there_is_enough():
    few = plots.learning_curve([2.0, 1.0]).axes[0]
    assert [line.get_gid() for line in few.lines] == ["losses"]
    assert "too few" in few.get_title(loc="left")
    assert list(few.get_xticks()) == [1, 2]
    many = plots.learning_curve([float(i % 2) for i in range(100)]).axes[0]
    assert [line.get_gid() for line in many.lines] == ["losses", "smoothed"]
    x, y = many.lines[1].get_data()
    assert (x[0], x[-1]) == (6, 95) and y == pytest.approx([(5 + i % 2) / 11 for i in range(90)])
    assert few.get_ylim()[0] == many.get_ylim()[0] == 0
    assert plots.learning_curve([0.5, -0.5]).axes[0].get_ylim()[0] < -0.5


@pytest.mark.parametrize(
    ("families", "losses"),
    [
        ({f"family_{i}": 6 * "+-100" for i in range(7)}, 200),
        (FAMILIES, 2),
        ({"a": "1"}, 1),
        ({"ownership_and_smart_pointers": 60 * "+-100", "b": "0"}, 20),
    ],
)
def test_nothing_leaves_the_picture(families, losses):
    run = summary(families, delivered=pair(families)[0])
    check_texts(plots.koans(run.before, run.after))
    check_texts(plots.families(rows(run), list(run.evaluations)))
    check_texts(plots.learning_curve([1.0 / (i + 1) for i in range(losses)]))
