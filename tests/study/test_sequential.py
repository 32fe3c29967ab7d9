"""Streams: which tasks, in which order, and what a course comes to."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sleepy.artifacts import Task, TaskSet
from sleepy.errors import ConfigError, DataError
from sleepy.evaluate.continual import continual, figures
from sleepy.exam.builtin import frozen
from sleepy.results import Course, Result, Scores
from sleepy.study.cycles import Cycles
from sleepy.study.sequential import Sequential


def sets(koan: Task, patterns: int = 5) -> tuple[TaskSet, TaskSet]:
    """Two koans and three pairs a pattern; one pattern has koans alone."""
    tasks = [replace(koan, id=f"k{i}", pattern=f"p{i % patterns}") for i in range(2 * patterns)]
    pairs = [replace(koan, id=f"t{i}", pattern=f"p{i % (patterns - 1)}") for i in range(3 * (patterns - 1))]
    return TaskSet("koans", "1", tuple(tasks)), TaskSet("pairs", "1", tuple(pairs))


def test_the_exam_is_the_koans_of_the_drawn_tasks_in_their_order(koan: Task) -> None:
    tasks, pairs = sets(koan)
    exams = {seed: Sequential(tasks=3).exam(tasks, pairs, seed) for seed in range(6)}
    for exam in exams.values():
        order = [t.pattern for t in exam]
        assert len(exam) == 6 and order[::2] == order[1::2] and len(set(order)) == 3 and "p4" not in order
        assert exam.name == "koans[6]"
    assert exams[0].tasks == Sequential(tasks=3).exam(tasks, pairs, 0).tasks
    assert len({tuple(t.pattern for t in exam) for exam in exams.values()}) > 1


def test_too_few_tasks_are_named(koan: Task) -> None:
    tasks, pairs = sets(koan)
    with pytest.raises(DataError, match=r"at most 4, not 5: so many patterns .*\(p0, p1, p2, p3\)\. Use tasks=pat"):
        Sequential(tasks=5).exam(tasks, pairs, 0)


def test_cycles_refuse_a_gate_that_would_see_the_exam(koan: Task) -> None:
    seen = TaskSet("mine", "1", (koan, frozen("koans_val").tasks[0]))
    with pytest.raises(ConfigError, match=r"gate.tasks: 1 of the koans of koans_val are in mine"):
        Cycles().check_panel(seen, frozen("koans_val"))
    Cycles().check_panel(seen, frozen("patterns"))


def course(rows: list[list[bool]], groups: list[list[int]]) -> Course:
    def scores(row: list[bool]) -> Scores:
        return Scores("k", "", "m", "e", tuple(Result(str(i), "f", "p", 1, ok, ()) for i, ok in enumerate(row)), 0.0)

    ids = tuple(tuple(str(i) for i in group) for group in groups)
    return Course(tuple("ab"[: len(groups)]), ids, scores(rows[0]), tuple(scores(r) for r in rows[1:]))


def test_a_course_by_hand() -> None:
    rows = [
        [False, False, True, False],  # base: 0, 1/2
        [True, True, True, True],  # after a: 1, 1
        [True, False, True, True],  # after b: 1/2, 1
    ]
    found = continual(course(rows, [[0, 1], [2, 3]]))
    assert found.matrix == [[1.0, 1.0], [0.5, 1.0]] and found.base == [0.0, 0.5]
    assert (found.acc, found.bwt, found.fwt) == (0.75, -0.5, 0.5) and found.forgetting == [0.5, 0.0]
    assert found.acc_interval == (0.5, 1.0) and found.bwt_interval == (-1.0, 0.0)
    assert found.summary()["forgetting"] == 0.25


@given(st.integers(1, 6), st.data())
def test_figures_are_the_formulas(tasks: int, data: st.DataObject) -> None:
    rate = st.floats(0, 1)
    matrix = [[data.draw(rate) for _ in range(tasks)] for _ in range(tasks)]
    base = [data.draw(rate) for _ in range(tasks)]
    acc, bwt, fwt = figures(matrix, base)
    assert acc == pytest.approx(sum(matrix[-1]) / tasks)
    assert -1 <= bwt <= 1 and -1 <= fwt <= 1
    if tasks == 1:
        assert (bwt, fwt) == (0, 0)
    else:
        assert bwt * (tasks - 1) == pytest.approx(sum(matrix[-1][j] - matrix[j][j] for j in range(tasks - 1)), abs=1e-9)
        assert fwt * (tasks - 1) == pytest.approx(
            sum(matrix[j][j + 1] - base[j + 1] for j in range(tasks - 1)), abs=1e-9
        )
