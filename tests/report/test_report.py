"""The report of real Scores: page and terminal table hold the same figures."""

from __future__ import annotations

import dataclasses
import io
import re
from dataclasses import replace

import pytest
from matplotlib.image import imread
from rich.console import Console

from sleepy.artifacts import Scores
from sleepy.options import problems_of
from sleepy.report.report import Full
from sleepy.report.summary import duration, limits, median_steps
from sleepy.report.terminal import show
from tests.report.made import FAMILIES, printed, result, summary


def test_page_links_resolve_and_pictures_are_pictures(tmp_path):
    files = Full(dpi=60).write(tmp_path / "new" / "folder", summary())
    text = files.page.read_text()
    links = re.findall(r"\]\(([^)]+)\)", text)
    assert [files.page.parent / link for link in links] == list(files.pictures)
    assert {p.name for p in files.pictures} == {"koans.png", "families.png", "learning_curve.png"}
    for picture in files.pictures:
        pixels = imread(picture)
        assert pixels.shape[1] > 400
        assert pixels[..., :3].std() > 0.02  # not blank


def test_dpi_sets_the_size_and_pictures_can_be_left_out(tmp_path):
    widths = [imread(Full(dpi=dpi).write(tmp_path / str(dpi), summary()).pictures[0]).shape[1] for dpi in (60, 120)]
    assert widths[1] == pytest.approx(2 * widths[0], abs=2)
    files = Full(pictures=False).write(tmp_path / "none", summary())
    assert files.pictures == ()
    assert "![" not in files.page.read_text()
    assert [p.name for p in files.page.parent.iterdir()] == ["report.md"]


def test_page_holds_the_numbers(tmp_path):
    run = summary()
    text = Full(pictures=False).write(tmp_path, run).page.read_text()
    assert "| all | 8/21 = 38.1 % | 20.8 to 59.1 | 11/21 = 52.4 % | 32.4 to 71.7 | 5 | 2 |" in text
    assert "| borrow_checker | 4/9 = 44.4 % | 18.9 to 73.3 | 5/9 = 55.6 % | 26.7 to 81.1 | 2 | 1 |" in text
    assert "| rust_2024 | 0/3 = 0.0 % | 0.0 to 56.1 | 0/3 = 0.0 % | 0.0 to 56.1 | 0 | 0 |" in text
    assert "Difference +14.3 points" in text and "p = 0.45" in text
    assert f"{100 * run.comparison.detectable:.1f} points to be noticed" in text
    assert "| median steps to a pass | 1 | 2 |" in text
    assert f"| prompt tokens | {8 * 310 + 13 * 300} | {21 * 300 + 11 * 310 + 10 * 300} |" in text
    assert f"| answer tokens | {8 * 41 + 13 * 40} | {21 * 40 + 11 * 41 + 10 * 40} |" in text
    assert "| train | 1 min 23 s |" in text and "| in all | 2 min 23 s |" in text


def test_page_lists_every_changed_koan_with_how_it_ended(tmp_path):
    run = summary()
    text = Full(pictures=False).write(tmp_path, run).page.read_text()
    listed = re.findall(r"^\| `(\w+)` \|.*\| (.+) \| (.+) \|$", text, re.MULTILINE)
    failed = "compile E0502 E0499"
    assert listed == [(i, failed, "passed") for i in run.comparison.fixes] + [
        (i, "passed", failed) for i in run.comparison.regressions
    ]
    none = Full(pictures=False).write(tmp_path, summary({"a": "10"})).page.read_text()
    assert "Fixes (failed before, pass now): none." in none


def test_page_says_how_to_repeat_the_run(tmp_path):
    run = summary()
    text = Full(pictures=False).write(tmp_path, run).page.read_text()
    assert "git checkout c0ffee1\npython run.py 'lora.target_modules=[q_proj,v_proj]' algo=replay\n" in text
    for fact in (
        run.run_id,
        run.before.tasks_digest,
        run.mix.digest,
        "3 replay, 2 success",
        run.adapter.digest,
        run.gguf.digest,
        run.proof,
        run.ui_line,
        "4399104 parameters",
        "koans 3",
    ):
        assert fact in text
    assert "differed from this revision" not in text
    assert (
        "differed from this revision" in Full(pictures=False).write(tmp_path, replace(run, dirty=True)).page.read_text()
    )
    bare = Full(pictures=False).write(tmp_path, replace(run, revision="")).page.read_text()
    assert "git checkout c" not in bare and "not in a git checkout" in bare


def test_page_tables_are_whole(tmp_path):
    """Every line of a table has as many cells as its head, whatever stands in them; no text is taken for HTML."""
    text = Full(pictures=False).write(tmp_path, summary()).page.read_text()
    tables = re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE)
    assert len(tables) == 6
    for table in tables:
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}) == 1
    assert "a\\|b" in text and "&lt;guard>" in text


def test_run_without_training_or_export(tmp_path):
    run = replace(summary(), mix=None, adapter=None, gguf=None)
    files = Full(dpi=60).write(tmp_path, run)
    assert {p.name for p in files.pictures} == {"koans.png", "families.png"}
    assert "parameters trained" not in files.page.read_text()
    assert "\nadapter" not in printed(run, tmp_path)


def test_terminal_holds_the_numbers_within_80_columns_of_ascii(tmp_path):
    run = summary({**FAMILIES, "ownership_and_smart_pointers": 50 * "1+0"})
    text = printed(run, tmp_path)
    head, tail = text.split("\nreport ")
    assert max(map(len, head.splitlines())) <= 80
    assert text.isascii() and "\x1b" not in text
    assert re.search(r"^all +58/171 +34% 27-41 +111/171 +65% 58-72 +55 +2$", head, re.MULTILINE)
    assert re.search(
        r"^ownership_and_smart_pointers +50/150 +33% 26-41 +100/150 +67% 59-74 +50 +0$", head, re.MULTILINE
    )
    assert re.search(r"^median steps to a pass +1 +2$", head, re.MULTILINE)
    flat = " ".join(head.split())
    for words in (
        run.verdict.reason,
        limits(run),
        "p < 0.001 (fixes 55, regressions 2)",
        "difference +31.0 points",
        "train 1 min 23 s, evaluate 1 min 0 s; in all 2 min 23 s",
        "warning: no network <guard>",
    ):
        assert words in flat
    # What a person copies is never broken into lines.
    assert f"MLflow   {run.ui_line}\n" in tail and f"gguf     {run.gguf.path}\n" in tail
    assert tail.startswith(f"  {tmp_path / 'report.md'}\n")


def test_terminal_folds_a_family_with_a_long_name(tmp_path):
    text = printed(summary({70 * "f": "1+0"}), tmp_path)
    assert text.count("f" * 20) >= 3
    assert re.search(r"1/3 +33% +6-79 +2/3 +67% 21-94 +1 +0", text)


def test_terminal_is_coloured_on_a_terminal_only(tmp_path):
    out = io.StringIO()
    run = summary()
    show(run, Full(pictures=False).write(tmp_path, run), Console(file=out, width=80, force_terminal=True))
    assert "\x1b[1;32mpromoted" in out.getvalue()


def test_show_prints_on_stdout(tmp_path, capsys):
    run = summary()
    Full().show(run, Full(pictures=False).write(tmp_path, run))
    assert "promoted: 5 fixes" in capsys.readouterr().out


def test_limits_say_what_a_set_cannot_tell():
    assert "can show nothing" in limits(summary({"a": "+++++"}))
    assert "chance may explain" in limits(summary({"a": "+++++-0"}))
    assert "larger than chance explains" in limits(summary({"a": 12 * "+"}))


def test_median_steps_counts_passed_tasks_only():
    def of(*steps_and_passed: tuple[int, bool]) -> float | None:
        results = tuple(result("a", i, passed, steps, 1) for i, (steps, passed) in enumerate(steps_and_passed))
        return median_steps(Scores("", "", "", "", results, 0.0))

    assert of((1, True), (2, True), (9, False)) == 1.5
    assert of((3, False)) is None


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.04, "0.0 s"),
        (9.94, "9.9 s"),
        (9.96, "10 s"),
        (59.4, "59 s"),
        (59.6, "1 min 0 s"),
        (221.2, "3 min 41 s"),
        (3599.6, "1 h 0 min"),
        (7500, "2 h 5 min"),
    ],
)
def test_duration(seconds, words):
    assert duration(seconds) == words


def test_options_have_bounds():
    assert {f.name for f in dataclasses.fields(Full)} == {"pictures", "dpi"}
    assert problems_of(Full(), "report") == []
    assert problems_of(Full(dpi=5), "report") == ["report.dpi: found 5, expected a value at least 50"]
