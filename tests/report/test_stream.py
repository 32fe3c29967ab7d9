"""The report of a made-up stream: its figures, its pictures, and where they are."""

from __future__ import annotations

import random
import re
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.image import imread

from sleepy.evaluate.continual import continual
from sleepy.report import stream
from sleepy.report.report import Report
from sleepy.results import Course, Result, Scores
from tests.report.made import check_texts, printed, summary


def course(tasks: dict[str, list[str]]) -> Course:
    """A task's koans as words, a letter per step and the base first: "1" passed, "0" failed."""
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
    files = Report(dpi=60).write(tmp_path, summary(course=BY_HAND))
    text = files.page.read_text()
    for line in (
        "| R, % | its koans | task 1 | task 2 | mean |",
        "| base |  | 0 | 33 | 16.7 |",
        "| after 1, a | 2 | **100** | 67 | 83.3 |",
        "| after 2, b_c | 3 | 50 | **100** | 75.0 |",
        "- ACC 75.0 %, 95 % 50.0 to 100.0: mean accuracy over all tasks after the last step.",
        "- BWT -50.0 points, 95 % -100.0 to +0.0: effect of later steps on tasks already learned.",
        "- forgetting 25.0 points, 95 % 0.0 to 50.0: how far the tasks end below their best result after any step.",
    ):
        assert f"{line}\n" in text
    assert "- FWT +33.3 points, 95 % " in text
    links = re.findall(r"\]\(([^)]+)\)", text.split("## The stream")[1].split("## What changed")[0])
    assert links == ["stream_curve.png", "stream_koans.png"] == [p.name for p in files.pictures[-2:]]
    assert all(imread(tmp_path / link)[..., :3].std() > 0.02 for link in links)
    assert len(set(re.findall(r"\]\(([^)]+)\)", text))) == len(re.findall(r"\]\(", text)) == 5


def test_terminal_has_two_lines_for_the_figures(tmp_path) -> None:
    lines = printed(summary(course=BY_HAND), tmp_path).splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith("stream of 2 tasks, accuracy in %"))
    assert lines[at + 1] == "ACC 75.0 (50.0 to 100.0), BWT -50.0 (-100.0 to +0.0)"
    assert re.fullmatch(r"FWT \+33.3 \(.+\), forgetting 25.0 \(0.0 to 50.0\)", lines[at + 2])


def test_forgetting_has_an_interval_as_wide_as_the_koans_differ() -> None:
    alike = course({"a": ["010", "010"], "b": ["001", "001"]})
    assert continual(alike).forgetting_interval == (0.5, 0.5)
    # A gain and a loss at the same step cancel: nothing is forgotten, but another draw of koans could show some.
    mixed = course({"a": ["010", "001"], "b": ["001", "001"]})
    assert stream.measures(mixed)[3].value == "0.0" and continual(mixed).forgetting_interval == (0.0, 0.5)


def test_curve_shows_all_koans_from_the_base_on_and_learned_ones_from_step_one_on() -> None:
    axes = stream.curve(BY_HAND).axes[0]
    lines = {line.get_gid(): line.get_data() for line in axes.lines}
    assert list(lines["line"][0]) == [0, 1, 2] and list(lines["line"][1]) == pytest.approx([20, 80, 80])
    assert list(lines["seen"][0]) == [1, 2] and list(lines["seen"][1]) == pytest.approx([100, 80])
    assert [t.get_text() for t in axes.get_xticklabels()] == ["base", "1", "2"]


def test_heatmap_draws_every_koan_at_every_step() -> None:
    panels = stream.heatmap(BY_HAND).axes
    drawn = Counter(patch.get_gid() for axes in panels for patch in axes.patches)
    # Kept: base 1 passed and 4 failed, then 1 and 1 at step 1, 3 and 0 at step 2.
    assert drawn == {"both": 5, "neither": 5, "gained": 4, "lost": 1, "learned": 2}
    first, second = panels
    texts = [text.get_text() for axes in panels for text in axes.texts]
    assert sorted(texts) == ["+", "+", "+", "+", "1  a", "2  b_c", "−"]
    for axes, names in ((first, ["a_koan_0", "a_koan_1"]), (second, ["b_c_koan_0", "b_c_koan_1", "b_c_koan_2"])):
        assert [label.get_text() for label in axes.get_yticklabels()] == names
        assert [label.get_text() for label in axes.get_xticklabels()] == ["base", "1", "2"]
    # Koan 1 of task a is the one that is lost, at step 2.
    lost = next(patch for patch in first.patches if patch.get_gid() == "lost")
    assert lost.get_x() < first.get_xticks()[2] < lost.get_x() + lost.get_width()
    assert lost.get_y() < first.get_yticks()[1] < lost.get_y() + lost.get_height()
    # A task's frame is at its own step and covers its koans.
    for step, axes in enumerate(panels, 1):
        frame = next(patch for patch in axes.patches if patch.get_gid() == "learned")
        assert frame.get_height() == len(BY_HAND.groups[step - 1])
        assert frame.get_x() + 0.5 == pytest.approx(axes.get_xticks()[step])


@given(st.lists(st.integers(1, 12), min_size=1, max_size=12))
def test_columns_keep_the_order_and_are_as_even_as_they_can_be(sizes: list[int]) -> None:
    found = stream.columns(sizes)
    assert [i for part in found for i in part] == list(range(len(sizes)))
    heights = [sum(stream.HEAD + sizes[i] for i in part) for part in found]
    assert len(found) == min(2, len(sizes)) and min(heights) > 0
    if len(sizes) > 1:
        assert max(heights) <= sum(heights) / 2 + (stream.HEAD + max(sizes)) / 2


@pytest.mark.parametrize(("tasks", "most", "letters"), [(5, 5, 32), (10, 10, 32), (2, 3, 5)])
def test_nothing_leaves_the_picture(tasks: int, most: int, letters: int) -> None:
    went = made_up(tasks, most, letters)
    check_texts(stream.curve(went))
    check_texts(stream.heatmap(went))


def test_a_long_name_of_a_koan_is_cut() -> None:
    labels = stream.heatmap(course({40 * "n": ["01"]})).axes[0].get_yticklabels()
    assert [label.get_text() for label in labels] == [23 * "n" + "…"]
