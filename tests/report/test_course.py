"""The report of a made-up course: its figures, its pictures, and where they stand."""

from __future__ import annotations

import random
import re
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.image import imread

from sleepy.artifacts import Course, Result, Scores
from sleepy.evaluate.continual import continual
from sleepy.report import stream_page
from sleepy.report.report import Full
from tests.report.made import printed, summary


def course(tasks: dict[str, list[str]]) -> Course:
    """A task's koans as words, a letter a step and the base first: "1" passed, "0" failed."""
    groups = tuple(tuple(f"f/{name}/{name}_koan_{i}" for i in range(len(words))) for name, words in tasks.items())
    ids = [task for group in groups for task in group]
    rows = zip(*[[letter == "1" for letter in word] for words in tasks.values() for word in words], strict=True)
    before, *after = (
        Scores("k", "", "m", "e", tuple(Result(i, "f", "p", 1, ok, ()) for i, ok in zip(ids, row, strict=True)), 0.0)
        for row in rows
    )
    return Course(tuple(tasks), groups, before, tuple(after))


def made_up(tasks: int, most: int, letters: int = 8) -> Course:
    rng = random.Random(tasks)
    return course(
        {
            f"{'task_' * (letters // 5)}{i}": [
                "".join(rng.choices("0111", k=tasks + 1)) for _ in range(rng.randint(3, most))
            ]
            for i in range(tasks)
        }
    )


# Base 0/2 and 1/3; after a 2/2 and 2/3; after b 1/2 and 3/3.
BY_HAND = course({"a": ["011", "010"], "b_c": ["001", "011", "111"]})


def test_page_holds_the_matrix_and_the_figures(tmp_path) -> None:
    run = replace(summary(), course=BY_HAND)
    files = Full(dpi=60).write(tmp_path, run)
    text = files.page.read_text()
    for line in (
        "| R, % | its koans | task 1 | task 2 | mean |",
        "| base |  | 0 | 33 | 16.7 |",
        "| after 1, a | 2 | **100** | 67 | 83.3 |",
        "| after 2, b_c | 3 | 50 | **100** | 75.0 |",
        "- ACC 75.0 %, 95 % 50.0 to 100.0: mean accuracy of the tasks in the end.",
        "- BWT -50.0 points, 95 % -100.0 to +0.0: what later steps did to tasks learned before.",
        "- forgetting 25.0 points, 95 % 0.0 to 50.0: how far the tasks end below the best they were after any step.",
    ):
        assert f"{line}\n" in text
    assert "- FWT +33.3 points, 95 % " in text
    stream = text.split("## The stream")[1].split("## What changed")[0]
    links = re.findall(r"\]\(([^)]+)\)", stream)
    assert links == ["stream_curve.png", "stream_koans.png"] == [p.name for p in files.pictures[-2:]]
    assert all(imread(tmp_path / link)[..., :3].std() > 0.02 for link in links)
    assert len(set(re.findall(r"\]\(([^)]+)\)", text))) == len(re.findall(r"\]\(", text)) == 5


def test_without_a_stream_nothing_is_said_of_one(tmp_path) -> None:
    text = Full(pictures=False).write(tmp_path, summary()).page.read_text()
    assert "stream" not in text
    assert not re.search(r"stream of|ACC|BWT", printed(summary(), tmp_path))


def test_terminal_has_two_lines_for_the_figures(tmp_path) -> None:
    text = printed(replace(summary(), course=BY_HAND), tmp_path)
    first, second = (line for line in text.splitlines() if "ACC" in line or "FWT" in line)
    assert first == "stream of 2: ACC 75.0 % (50.0 to 100.0), BWT -50.0 (-100.0 to +0.0)"
    assert re.fullmatch(r"FWT \+33.3 \(.+\), forgetting 25.0 \(0.0 to 50.0\) points; 95 % in \(\)", second)
    assert max(len(first), len(second)) <= 80 and (first + second).isascii()


def test_forgetting_has_an_interval_as_wide_as_the_koans_differ() -> None:
    alike = course({"a": ["010", "010"], "b": ["001", "001"]})
    assert continual(alike).forgetting_interval == (0.5, 0.5)
    # A gain and a loss at the same step cancel: nothing is forgotten, but another draw of koans could show some.
    mixed = course({"a": ["010", "001"], "b": ["001", "001"]})
    assert stream_page.measures(mixed)[3].value == "0.0" and continual(mixed).forgetting_interval == (0.0, 0.5)


def test_curve_shows_all_koans_from_the_base_on_and_learned_ones_from_step_one_on() -> None:
    axes = stream_page.curve(BY_HAND).axes[0]
    lines = {line.get_gid(): line.get_data() for line in axes.lines}
    assert list(lines["all"][0]) == [0, 1, 2] and list(lines["all"][1]) == pytest.approx([20, 80, 80])
    assert list(lines["seen"][0]) == [1, 2] and list(lines["seen"][1]) == pytest.approx([100, 80])
    assert [t.get_text() for t in axes.get_xticklabels()] == ["base", "1", "2"]


def test_heatmap_draws_every_koan_at_every_step() -> None:
    axes = stream_page.heatmap(BY_HAND).axes[0]
    drawn = Counter(patch.get_gid() for patch in axes.patches)
    # Kept: base 1 passed and 4 failed, then 1 and 1 at step 1, 3 and 0 at step 2.
    assert drawn == {"both": 5, "neither": 5, "gained": 4, "lost": 1, "learned": 2}
    texts = Counter(text.get_text() for text in axes.texts)
    assert (texts["+"], texts["−"], texts["1  a"], texts["2  b_c"], texts["b_c_koan_2"]) == (4, 1, 1, 1, 1)
    assert sum(line.get_gid() == "line" for line in axes.lines) == 2
    lost = next(p for p in axes.patches if p.get_gid() == "lost")
    places = {t.get_text(): t.get_position() for t in axes.texts if t.get_text() in ("−", "2", "a_koan_1")}
    # Task a stands in the first column of two; its koan_1 is the one lost, at step 2.
    second = min(t.get_position()[0] for t in axes.texts if t.get_text() == "2")
    row = min((t.get_position() for t in axes.texts if t.get_text() == "a_koan_1"), key=lambda p: p[0])[1]
    assert places["−"] == pytest.approx((second, row))
    assert lost.get_x() < second < lost.get_x() + lost.get_width()
    # A task's frame stands at its own step and covers its koans.
    frames = [p for p in axes.patches if p.get_gid() == "learned"]
    assert [round(p.get_height() / stream_page.CELL) for p in frames] == [2, 3]
    assert frames[0].get_x() + stream_page.CELL * 1.5 == pytest.approx(second)


@given(st.lists(st.integers(1, 12), min_size=1, max_size=12))
def test_columns_keep_the_order_and_are_as_even_as_they_can_be(sizes: list[int]) -> None:
    found = stream_page.columns(sizes)
    assert [i for part in found for i in part] == list(range(len(sizes)))
    heights = [sum(stream_page.HEAD + sizes[i] for i in part) for part in found]
    assert len(found) == min(2, len(sizes)) and min(heights) > 0
    if len(sizes) > 1:
        half = sum(heights) / 2
        assert max(heights) <= half + (stream_page.HEAD + max(sizes)) / 2


@pytest.mark.parametrize(("tasks", "most", "letters"), [(5, 5, 32), (10, 10, 32), (2, 3, 5)])
def test_nothing_leaves_the_picture(tasks: int, most: int, letters: int) -> None:
    """Every text lies inside its figure, and no two texts overlap."""
    went = made_up(tasks, most, letters)
    for figure in (stream_page.curve(went), stream_page.heatmap(went)):
        figure.draw_without_rendering()
        axes = figure.axes[0]
        texts = [*axes.texts, *figure.legends[0].get_texts()]
        texts += axes.get_xticklabels() if axes.axison else []
        boxes = [t.get_window_extent() for t in texts]
        for i, box in enumerate(boxes):
            assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= figure.bbox.width and box.y1 <= figure.bbox.height
            assert not any(box.overlaps(other) for other in boxes[:i])


def test_a_long_name_of_a_koan_is_cut() -> None:
    went = made_up(2, 3)
    long = replace(
        went,
        groups=(("f/p/" + 40 * "n", *went.groups[0][1:]), went.groups[1]),
        before=_renamed(went.before),
        after=tuple(map(_renamed, went.after)),
    )
    names = [t.get_text() for t in stream_page.heatmap(long).axes[0].texts]
    assert 23 * "n" + "…" in names


def _renamed(scores: Scores) -> Scores:
    return replace(scores, results=(replace(scores.results[0], task="f/p/" + 40 * "n"), *scores.results[1:]))
