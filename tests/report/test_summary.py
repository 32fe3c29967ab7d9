"""What terminal and page share: figures and sentences."""

from __future__ import annotations

from dataclasses import replace

from sleepy.options import problems_of
from sleepy.report.report import Report
from sleepy.report.summary import duration, effort, limits
from sleepy.results import Result, Scores
from tests.report.made import result, summary


def test_limits_say_what_a_set_cannot_tell():
    assert limits(summary({"a": "+++++"})).startswith("5 koans cannot show a difference: even if every answer improved")
    assert "This difference may be due to chance; smaller real" in limits(summary({"a": "+++++-0"}))
    assert "larger than chance would explain" in limits(summary({"a": 12 * "+"}))
    assert "0 of which changed" in limits(summary({"a": "0000000"})) and "Smaller" in limits(summary({"a": "0000000"}))


def test_median_steps_are_of_passed_koans_only():
    def of(*steps_and_passed: tuple[int, bool]) -> str:
        results = tuple(result("a", i, passed, steps, 1) for i, (steps, passed) in enumerate(steps_and_passed))
        return effort(replace(summary(), after=Scores("", "", "", "", results, 0.0)))[0][2]

    assert of((1, True), (2, True), (9, False)) == "1.5"
    assert of((3, False)) == "none passed"


def test_scores_are_a_table_of_rates_by_family_and_level(tmp_path):
    results = [
        Result(f"{f}{i}", f, "p", level, i < passed, ())
        for f, level, passed in (("a", 1, 3), ("b", 2, 0))
        for i in range(10)
    ]
    scores = Scores("koans", "", "m", "e", tuple(results), 1.0)
    written = Report().scores(tmp_path, scores, "baseline")
    lines = written.read_text().splitlines()
    assert lines[8] == "| answers | edited | compile | test blocks | pass | unsafe |" and len(lines) == 11
    assert written.name == "baseline.md" and lines[:7] == [
        "m, koans, e",
        "",
        "| family | level 1 | level 2 | all levels |",
        "|---|---|---|---|",
        "| a | 3/10 (11 to 60) | - | 3/10 (11 to 60) |",
        "| b | - | 0/10 (0 to 28) | 0/10 (0 to 28) |",
        "| all | 3/10 (11 to 60) | 0/10 (0 to 28) | 3/20 (5 to 36) |",
    ]


def test_duration():
    for seconds, words in {
        0.04: "0.0 s",
        9.94: "9.9 s",
        9.96: "10 s",
        59.4: "59 s",
        59.6: "1 min 0 s",
        221.2: "3 min 41 s",
        3599.6: "1 h 0 min",
        7500: "2 h 5 min",
    }.items():
        assert duration(seconds) == words


def test_options_have_bounds():
    assert problems_of(Report(), "report") == []
    assert [line.split()[0] for dpi in (49, 401) for line in problems_of(Report(dpi=dpi), "report")] == [
        "report.dpi",
        "report.dpi",
    ]
