"""The table of one evaluation."""

from __future__ import annotations

from sleepy.artifacts import Result, Scores
from sleepy.report.scores import table


def test_rates_and_intervals_by_family_and_level() -> None:
    results = [
        Result(f"{f}{i}", f, "p", level, i < passed, ())
        for f, level, passed in (("a", 1, 3), ("b", 2, 0))
        for i in range(10)
    ]
    lines = table(Scores("koans", "", "m", "e", tuple(results), 1.0)).splitlines()
    assert lines[0] == "| family | level 1 | level 2 | all levels |"
    assert lines[2] == "| a | 3/10 (11 to 60) | - | 3/10 (11 to 60) |"
    assert lines[3] == "| b | - | 0/10 (0 to 28) | 0/10 (0 to 28) |"
    assert lines[4].startswith("| all | 3/10 (11 to 60) | 0/10 (0 to 28) | 3/20 (5 to 36)")
