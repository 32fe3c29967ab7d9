"""The pictures of real Scores: every koan and figure is where it belongs, and nothing leaves the picture."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sleepy.report import plots
from sleepy.report.summary import rows
from tests.report.made import FAMILIES, pair, summary

words = st.tuples(st.text("+-10", min_size=1, max_size=8), st.integers(1, 40)).map(lambda w: w[0] * w[1])
grids = st.dictionaries(st.sampled_from(["a", "b", "c"]), words, min_size=1)


@given(grids)
@settings(max_examples=60)
def test_grid_places_every_koan_once_in_its_family_and_level(families):
    before, after = pair(families)
    grid = plots.layout(before, after)
    assert Counter(c.task for c in grid.cells) == Counter(r.task for r in before.results)
    assert len({(c.column, c.line) for c in grid.cells}) == len(grid.cells)
    found = {c.task: c for c in grid.cells}
    word = {"+": "gained", "-": "lost", "1": "both", "0": "neither"}
    for r in before.results:
        cell = found[r.task]
        assert cell.outcome == word[families[r.family][int(r.task.rsplit("_", 1)[1])]]
        (first, wide), (line, high) = grid.levels[r.level], grid.lines[r.family]
        assert first <= cell.column < first + wide and line <= cell.line < line + high
    assert sum(wide for _, wide in grid.levels.values()) <= plots.WIDEST + 3
    spans = sorted([*grid.lines.values()])
    assert max(high for _, high in spans) <= -(-len(before.results) // plots.WIDEST)
    assert [line for line, _ in spans] == [sum(high for _, high in spans[:i]) for i in range(len(spans))]


def test_grid_picture_counts_agree_with_the_comparison():
    run = summary({name: words * 10 for name, words in FAMILIES.items()})
    figure = plots.koans(run.before, run.after)
    drawn = Counter(patch.get_gid() for patch in figure.axes[0].patches)
    assert drawn == {"both": 60, "neither": 80, "gained": 50, "lost": 20}
    assert (drawn["gained"], drawn["lost"]) == (len(run.comparison.fixes), len(run.comparison.regressions))
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend == ["passed before and after: 60", "failed before and after: 80", "+ gained: 50", "− lost: 20"]
    symbols = Counter(text.get_text() for text in figure.axes[0].texts)
    assert (symbols["+"], symbols["−"]) == (50, 20)
    assert symbols["40 → 50 of 90"] == symbols["level 2"] == 1


def test_bars_show_each_rate_with_its_interval():
    run = summary()
    axes = plots.families(rows(run)).axes[0]
    assert [bar.get_width() for bar in axes.patches] == pytest.approx(
        [100 * r.before / r.total for r in rows(run)] + [100 * r.after / r.total for r in rows(run)]
    )
    assert axes.get_xlim() == (0, 100)
    ends = axes.collections[0].get_segments()  # the baseline's intervals
    assert ends[0][:, 0] == pytest.approx([20.8, 59.1], abs=0.05)
    assert ends[3][:, 0] == pytest.approx([0, 56.1], abs=0.05)


def test_learning_curve_is_smoothed_only_where_there_is_enough():
    few = plots.learning_curve([2.0, 1.0]).axes[0]
    assert [line.get_gid() for line in few.lines] == ["losses"]
    assert "too few" in few.get_title(loc="left")
    assert list(few.get_xticks()) == [1, 2]
    many = plots.learning_curve([float(i % 2) for i in range(100)]).axes[0]
    assert [line.get_gid() for line in many.lines] == ["losses", "smoothed"]
    x, y = many.lines[1].get_data()
    assert (x[0], x[-1]) == (6, 95) and y == pytest.approx([(5 + i % 2) / 11 for i in range(90)])
    assert few.get_ylim()[0] == many.get_ylim()[0] == 0


def test_learning_curve_shows_negative_losses():
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
    """Every text lies inside its figure, and no two texts overlap."""
    run = summary(families)
    for figure in (
        plots.koans(run.before, run.after),
        plots.families(rows(run)),
        plots.learning_curve([1.0 / (i + 1) for i in range(losses)]),
    ):
        figure.draw_without_rendering()
        axes = figure.axes[0]
        texts = [*axes.texts, *figure.texts, *figure.legends[0].get_texts()]
        if axes.axison:
            for axis, (low, high) in ((axes.xaxis, axes.get_xlim()), (axes.yaxis, sorted(axes.get_ylim()))):
                texts += [tick.label1 for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high]
        boxes = [t.get_window_extent() for t in texts if t.get_text() and t.get_visible()]
        for i, box in enumerate(boxes):
            assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= figure.bbox.width and box.y1 <= figure.bbox.height
            assert not any(box.overlaps(other) for other in boxes[:i])
