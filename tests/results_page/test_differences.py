from __future__ import annotations

import statistics
from pathlib import Path

import pytest

from sleepy.evaluate.stats import compare, score_interval
from sleepy.results import Scores
from sleepy.results_page.differences import Difference, Draws, differences, effects, forgetting, smallest_noticed
from sleepy.results_page.rows import Row, rows
from tests.results_page.made import exam, job, scores, sweep

KOANS = exam(24)
BEFORE = scores(KOANS, lambda i: i % 4 == 0)


def row(*after: Scores) -> Row:
    jobs = tuple(job(Path(), [f"seed={i}"], BEFORE, a, number=i + 1) for i, a in enumerate(after))
    return Row({}, jobs, (BEFORE,) * len(jobs))


def first(n: int) -> Scores:
    """As before, and the first n koans besides."""
    return scores(KOANS, lambda i: i % 4 == 0 or i < n)


def of(*after: Scores) -> Difference:
    (found,) = differences([row(*after)], Draws())
    assert found
    return found


def test_one_run_is_compared_koan_by_koan() -> None:
    found, expected = of(first(12)), compare(BEFORE, first(12))
    assert (found.value, found.interval, found.p_value) == (expected.difference, expected.interval, expected.p_value)
    assert (found.fixes, found.regressions, found.spread) == (9, 0, None)
    assert found.beyond_chance and not of(first(3)).beyond_chance


def test_p_values_hold_for_all_rows_on_the_same_koans_together() -> None:
    alone = compare(BEFORE, first(12)).p_value
    others = scores(KOANS, lambda i: i % 4 == 0 or i >= 12)  # as many, and none of the same
    same = differences([row(first(12)), row(first(12))], Draws())
    apart = differences([row(first(12)), row(others)], Draws())
    assert [d.p_value for d in same if d] == pytest.approx([alone, alone])
    assert all(d and d.p_value and 1.5 * alone < d.p_value <= 2.5 * alone for d in apart)


def test_seeds_are_one_row_with_mean_and_spread() -> None:
    found = of(first(4), first(8), first(16))
    values = [3 / 24, 6 / 24, 12 / 24]
    assert found.of_seeds == tuple(values) and found.p_value is None
    assert found.value == pytest.approx(statistics.mean(values))
    assert found.spread == pytest.approx(statistics.stdev(values))
    assert found.fixes == pytest.approx(7)


def test_seeds_that_differ_more_make_a_wider_interval() -> None:
    alike, apart = of(first(8), first(8), first(8)), of(first(0), first(8), first(16))
    assert alike.value == apart.value
    assert width(apart) > 1.15 * width(alike) > 0


def test_the_bootstrap_of_koans_alone_has_the_error_of_a_mean() -> None:
    """With one koan a pattern and seeds alike, the distribution is that of a mean of 24 draws."""
    koans = [r for r in BEFORE.results]
    apart = [Scores(s.tasks, s.tasks_digest, s.model, s.engine, tuple(named(s)), 1.0) for s in (BEFORE, first(12))]
    assert len({r.pattern for r in apart[0].results}) == len(koans)
    jobs = tuple(job(Path(), [f"seed={i}"], apart[0], apart[1], number=i + 1) for i in range(2))
    drawn = Draws().of(Row({}, jobs, (apart[0],) * 2))
    share = 9 / 24
    assert drawn.mean() == pytest.approx(share, abs=0.01)
    assert drawn.std() == pytest.approx((share * (1 - share) / 24) ** 0.5, rel=0.06)


def named(s: Scores) -> list[object]:
    from dataclasses import replace

    return [replace(r, pattern=r.task) for r in s.results]


def test_koans_of_one_pattern_are_not_independent() -> None:
    """The same gain, once spread over patterns, once all in some of them."""
    patterns = list(dict.fromkeys(r.pattern for r in BEFORE.results))
    by = {t.id: i for i, t in enumerate(KOANS)}
    own = [[by[r.task] for r in BEFORE.results if r.pattern == p] for p in patterns]
    together = {i for group in own[: len(own) // 2] for i in group}
    spread = {i for group in own for i in group[: len(group) // 2]} | set()
    extra = iter(sorted(set(range(24)) - spread))
    while len(spread) < len(together):
        spread.add(next(extra))
    nothing = scores(KOANS, lambda i: False)
    found = []
    for gained in (together, spread):
        after = scores(KOANS, gained.__contains__)
        jobs = tuple(job(Path(), [f"seed={i}"], nothing, after, number=i + 1) for i in range(2))
        found.append(Draws().of(Row({}, jobs, (nothing,) * 2)).std())
    assert found[0] > 1.2 * found[1]


def test_where_no_koan_changed_seeds_are_not_certainty() -> None:
    found = of(BEFORE, BEFORE)
    assert found.interval == score_interval(24, 0, 0) and found.interval[1] > 0.1
    assert not found.beyond_chance


def test_other_koans_are_not_compared(tmp_path: Path) -> None:
    other = scores(exam(12), lambda i: True)
    jobs = [job(tmp_path, [f"tasks.per_level={i}"], s, s, number=i + 1) for i, s in enumerate((BEFORE, other))]
    baselines = [job(tmp_path, [f"repair={i}"], s, None, number=i + 1) for i, s in enumerate((BEFORE, first(8), other))]
    assert [d is None for d in differences(rows(jobs), Draws())] == [False, False]
    assert [d is None for d in differences(rows(baselines), Draws())] == [True, False, True]


def test_an_effect_is_the_mean_of_its_rows_less_that_of_all(tmp_path: Path) -> None:
    made = rows(sweep(tmp_path).jobs)
    draws = Draws()
    found = differences(made, draws)
    values = [d.value for d in found if d]
    of = effects(made, found, draws)
    assert list(of) == ["algo", "train.lr"]
    naive, replay = of["algo"]
    assert (naive.value, naive.rows) == ("naive", 2)
    assert naive.mean == pytest.approx(statistics.mean(values[:2]))
    assert replay.effect == pytest.approx(statistics.mean(values[2:]) - statistics.mean(values)) and replay.effect > 0.1
    assert replay.interval[0] > 0 > naive.interval[1]
    assert replay.interval[0] < replay.effect < replay.interval[1]


def test_what_a_row_forgot() -> None:
    lost = scores(KOANS, lambda i: i in (0, 4, 8) or i == 1)  # 3 of the 6 that passed, and one new
    assert forgetting(row(lost)) == 0.5
    assert forgetting(row(lost, BEFORE)) == 0.25
    stream = job(Path(), ["seed=0"], BEFORE, lost, metrics={"stream/forgetting": 0.2})
    assert forgetting(Row({}, (stream,), (BEFORE,))) == 0.2


def test_what_an_exam_notices_falls_with_its_koans(tmp_path: Path) -> None:
    small, large = (rows(sweep(tmp_path, koans).jobs) for koans in (24, 96))
    noticed = [smallest_noticed(made, differences(made, Draws())) for made in (small, large)]
    assert noticed[0] > 1.5 * noticed[1]


def width(found: Difference) -> float:
    return found.interval[1] - found.interval[0]
