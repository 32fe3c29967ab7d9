"""The table that a sweep ends with."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sleepy.results import Attempt, Result, Scores
from sleepy.track.sweep_table import HEAD, SCREEN, JobScores, sweep_table

COMMON = ("stages=[fetch,prove,baseline]", "engine.threads=1")


def scores(passed: list[bool], digest: str = "d") -> Scores:
    """One attempt of 100 tokens and half a second a koan."""
    results = []
    for i, ok in enumerate(passed):
        attempt = Attempt("", "", "passed" if ok else "compile", (), 80, 20, 0.5, "")
        results.append(Result(f"k{i}", "f", "p", 1, ok, (attempt,), 0, (ok,)))
    return Scores("koans", digest, "m", "e", tuple(results), 1.0)


def rows(*jobs: JobScores) -> list[list[str]]:
    shared = set.intersection(*(set(job.words) for job in jobs))
    lines = sweep_table(jobs, shared).partition("\n\n")[0].splitlines()
    assert tuple(lines[0].strip("| ").split(" | ")) == HEAD and lines[1] == "|" + "---|" * len(HEAD)
    return [line[2:-2].split(" | ") for line in lines[2:]]


def test_jobs_without_training_are_held_against_the_first() -> None:
    one = JobScores((*COMMON, "repair=single_shot"), "id1", scores([True] + 9 * [False]))
    two = JobScores((*COMMON, "repair=hints"), "id2", scores([False] + 9 * [True]))
    other = JobScores((*COMMON, "repair=hints", "tasks=koans_val"), "id3", scores([True], "other koans"))
    assert rows(one, two, other) == [
        ["repair=single_shot", "1/10 (2 to 40)", "10 %", "", "", "", "1000", "5.0", "id1"],
        ["repair=hints", "9/10 (60 to 98)", "90 %", "9", "1", "0.021", "111", "0.6", "id2"],
        ["repair=hints tasks=koans_val", "1/1 (21 to 100)", "100 %", "", "", "", "100", "0.5", "id3"],
    ]


def test_jobs_that_train_are_held_against_the_baseline_and_p_pays_for_their_number() -> None:
    before = scores(20 * [False])
    found = rows(
        JobScores(("algo=naive",), "1", before, scores(6 * [True] + 14 * [False])),
        JobScores(("algo=ewc",), "2", before, scores(14 * [False] + 6 * [True])),
        JobScores(("algo=sure",), "3", before, scores(6 * [True] + 14 * [False])),  # the same find as the first
    )
    assert [row[0] for row in found] == ["baseline", "algo=naive", "algo=ewc", "algo=sure"]
    # two finds, independent of each other: 1 - (1 - 2 / 2**6)**2, where Holm's method would say 0.094
    assert [row[3:6] for row in found] == [["", "", ""], *3 * [["6", "0", "0.062"]]]
    assert found[0][6:8] == ["-", "-"]  # nothing fixed: no cost of a fix


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=30))
def test_gains_and_losses_add_up(pairs: list[tuple[bool, bool]]) -> None:
    first, second = rows(
        JobScores(("a",), "1", scores([a for a, _ in pairs])), JobScores(("b",), "2", scores([b for _, b in pairs]))
    )
    passed = [int(row[1].split("/")[0]) for row in (first, second)]
    assert passed[1] - passed[0] == int(second[3]) - int(second[4])
    assert int(second[3]) == sum(b and not a for a, b in pairs)


def test_a_screen_shows_the_false_discovery_rate_too_and_the_table_says_what_its_p_is() -> None:
    before = scores(20 * [False])
    one = JobScores(("algo=naive",), "id", before, scores(10 * [True] + 10 * [False]))
    rest = [JobScores((f"seed={n}",), "id", before, scores([n == k for k in range(20)])) for n in range(SCREEN)]
    assert "p: McNemar's exact test, with 20 koans as units" in sweep_table([one], [])
    few = sweep_table([one, *rest[:-1]], [])
    assert "| p | tokens" in few and f"step-down max-T over {SCREEN} comparisons" in few and "Benjamini" not in few
    screen = sweep_table([one, *rest], [])
    assert "| p | q | tokens" in screen and "q: Benjamini-Hochberg" in screen
    row = screen.splitlines()[3].split(" | ")
    assert (row[3], row[4], row[6]) == ("10", "0", "0.041")  # q: 21 * 2 / 2**10
    assert 2 / 2**10 <= float(row[5]) < 0.004
