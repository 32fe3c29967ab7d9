"""The report of real Scores: page and terminal hold the same figures, and say what they mean."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from matplotlib.image import imread

from sleepy.evaluate.clusters import clustered
from sleepy.evaluate.stats import compare
from sleepy.exam.builtin import frozen
from sleepy.exam.strata import STRATA, stratum_of
from sleepy.pairs.material import Mix
from sleepy.report.report import Report
from sleepy.report.scores import scores_table
from sleepy.report.summary import delivery, effort, headline, limits, outcome_style, warnings
from tests.report.made import FAMILIES, TASK, paged, pair, printed, result, summary


def test_page_links_resolve_and_pictures_are_pictures(tmp_path):
    files = Report(dpi=60).write(tmp_path / "new" / "folder", summary())
    links = re.findall(r"\]\(([^)]+)\)", files.page.read_text())
    assert [files.page.parent / link for link in links] == list(files.pictures)
    assert {p.name for p in files.pictures} == {"koans.png", "families.png", "learning_curve.png"}
    for picture in files.pictures:
        pixels = imread(picture)
        assert pixels.shape[1] > 400 and pixels[..., :3].std() > 0.02  # not blank


def test_dpi_sets_the_size_and_pictures_can_be_left_out(tmp_path):
    wide = [imread(Report(dpi=dpi).write(tmp_path / str(dpi), summary()).pictures[0]).shape[1] for dpi in (60, 120)]
    assert wide[1] == pytest.approx(2 * wide[0], rel=0.05)
    files = Report(pictures=False).write(tmp_path / "none", summary())
    assert files.pictures == () and "![" not in files.page.read_text()
    assert [p.name for p in files.page.parent.iterdir()] == ["report.md"]


def test_page_holds_the_numbers(tmp_path):
    run = summary()
    text = paged(run, tmp_path)
    for words in (
        "| all | 8/21 = 38.1 % | 20.8 to 59.1 | 11/21 = 52.4 % | 32.4 to 71.7 | 5 | 2 |",
        "| borrow_checker | 4/9 = 44.4 % | 18.9 to 73.3 | 5/9 = 55.6 % | 26.7 to 81.1 | 2 | 1 |",
        "| rust_2024 | 0/3 = 0.0 % | 0.0 to 56.1 | 0/3 = 0.0 % | 0.0 to 56.1 | 0 | 0 |",
        "difference +14.3 points",
        f"{100 * run.comparison.detectable:.1f} points to be noticed",
        "| median steps to a pass | 1 | 2 |",
        f"| prompt tokens | {8 * 310 + 13 * 300} | {21 * 300 + 11 * 310 + 10 * 300} |",
        f"| answer tokens | {8 * 41 + 13 * 40} | {21 * 40 + 11 * 41 + 10 * 40} |",
        "| train | 1 min 23 s |",
        "| total | 2 min 23 s |",
    ):
        assert words in text
    tables = re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE)
    assert len(tables) == 8
    for table in tables:  # as many cells in each line as in its head
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}) == 1
    assert "a\\|b" in text and "&lt;guard>" in text


def test_strata_stand_beside_what_rustc_suggests(tmp_path):
    """Three koans of each stratum: a fix in each, a regression where rustc does not help."""
    ids = {stratum: [t.id for t in frozen("koans") if stratum_of(t.id) == stratum][:3] for stratum in STRATA[:3]}

    def scores(**passing):
        results = tuple(
            replace(result("f", 0, word == "1", 1, 1), task=task)
            for stratum, words in passing.items()
            for task, word in zip(ids[stratum], words, strict=True)
        )
        return replace(pair({"f": "1"})[0], results=results)

    before, after = (
        scores(shown="100", suggested="000", neither="010"),
        scores(shown="110", suggested="100", neither="101"),
    )
    rustfix = scores(shown="111", suggested="111", neither="000")
    run = summary(before=before, after=after, rustfix=rustfix, comparison=compare(before, after))
    for row in ("all 9 6 2 5 4 1", "shown 3 3 1 2 1 0", "suggested 3 3 0 1 1 0", "neither 3 0 1 2 2 1"):
        cells = row.split()
        assert f"| {' | '.join(cells)} |" in paged(run, tmp_path)
        assert re.search(rf"^{' +'.join(cells)}$", printed(run, tmp_path), re.MULTILINE)
    said = "Where rustc does not help (3 of the koans): +2 -1, p = 1.00."
    assert said in paged(run, tmp_path) and f"\n{said}\n" in printed(run, tmp_path)
    assert "| stratum neither | 1/3 (6 to 79) | 1/3 (6 to 79) |" in scores_table(before)
    assert f"| `{ids['neither'][0]}` | f | a\\|b | 1 | neither |" in paged(run, tmp_path)


def test_koans_of_one_s_own_have_no_strata(tmp_path):
    text = paged(summary(), tmp_path)
    assert (
        "| all | 21 | 8 | 8 | 11 | 5 | 2 |" in text
        and "Where rustc" not in text
        and "\n| unknown |" not in text.split("## What")[0]
    )


def test_koans_and_their_patterns_and_families_are_units_beside_each_other(tmp_path):
    run = summary()
    assert "patterns of" not in printed(run, tmp_path)  # all are of one
    families = "3 families of 21 koans: sign-flip p = 0.50."
    assert "mid-p = 0.29 (21 koans). With" in paged(run, tmp_path) and families in paged(run, tmp_path)
    assert "\n21 koans: exact McNemar p = 0.45, mid-p = 0.29 (fixes 5, regressions 2)\n" in printed(run, tmp_path)

    def in_pairs(scores):
        return replace(scores, results=tuple(replace(r, pattern=f"p{i // 2}") for i, r in enumerate(scores.results)))

    run = replace(run, before=in_pairs(run.before), after=in_pairs(run.after))
    line = clustered(run.before, run.after).line
    assert line.startswith("11 patterns of 21 koans: sign-flip p = 0.") and "95 % bootstrap" in line
    assert f"\n{line}\n" in printed(run, tmp_path)
    assert f"{line}; {families}" in paged(run, tmp_path)


def test_page_lists_every_changed_koan_with_how_it_ended(tmp_path):
    run = summary()
    listed = re.findall(r"^\| `(\w+)` \|.*\| (.+) \| (.+) \|$", paged(run, tmp_path), re.MULTILINE)
    failed = "compile E0502 E0499"
    assert listed == [(i, failed, "passed") for i in run.comparison.fixes] + [
        (i, "passed", failed) for i in run.comparison.regressions
    ]
    assert "Fixes (failed before, pass now): none." in paged(summary({"a": "10"}), tmp_path)


def test_page_says_how_to_repeat_the_run(tmp_path):
    run = summary()
    text = paged(run, tmp_path)
    assert "git checkout c0ffee1\npython run.py 'lora.target_modules=[q_proj,v_proj]' algo=replay\n" in text
    for fact in (
        run.run_id,
        run.before.tasks_digest,
        f"| training mix | 5 examples (3 replay, 2 success), digest `{run.mixes[0][1].digest}` |",
        run.adapter.digest,
        run.gguf.digest,
        run.proof,
        run.ui_line,
        "4399104 trainable parameters",
        "koans 3",
    ):
        assert fact in text
    assert "differed from this revision" not in text
    assert "differed from this revision" in paged(replace(run, dirty=True), tmp_path)
    bare = paged(replace(run, revision=""), tmp_path)
    assert "git checkout c" not in bare and "not in a git checkout" in bare


def test_each_step_shows_its_own_mix(tmp_path):
    mixes = tuple((f"cycle-{i}", Mix((TASK,) * i, {"failures": i})) for i in (1, 2))
    text = paged(summary(mixes=mixes), tmp_path)
    for name, mix in mixes:
        examples = len(mix.examples)
        assert f"| training mix of {name} | {examples} examples ({examples} failures), digest `{mix.digest}` |" in text
    assert "| training mix |" not in text


def test_without_training_export_stream_or_cycles_there_is_no_word_of_them(tmp_path):
    run = summary(mixes=(), adapter=None, gguf=None, proof="")
    files = Report(dpi=60).write(tmp_path, run)
    assert {p.name for p in files.pictures} == {"koans.png", "families.png"}
    words = r"training mix|parameters|export|delivered|stream|cycle|\(cached\)|ACC"
    for text in (files.page.read_text(), printed(run, tmp_path).split("\nreport ")[0]):
        assert not re.search(words, text)
    assert not re.search(r"^(adapter|gguf)", printed(run, tmp_path), re.MULTILINE)


def test_the_exported_file_is_a_column_paired_with_the_trained_model(tmp_path):
    worse = pair({"borrow_checker": "110100000", "lifetimes": "101010011", "rust_2024": "001"})[0]
    run = summary(delivered=worse, cached=frozenset({"baseline"}))
    assert [row[0] for row in effort(run)] == ["median steps to a pass", "prompt tokens", "answer tokens", "seconds"]
    assert effort(run)[-1][1:] == ["12.5 (cached)", "12.5", "12.5"]
    text = paged(run, tmp_path)
    assert "| all | 8/21 = 38.1 % | 20.8 to 59.1 | 11/21 = 52.4 % | 32.4 to 71.7 | 9/21 = 42.9 % |" in text
    assert "| effort | baseline | trained | delivered |" in text and "| 12.5 (cached) | 12.5 | 12.5 |" in text
    shown = printed(run, tmp_path)
    assert re.search(r"^all +8/21 +38% 21-59 +11/21 +52% 32-72 +9/21 +43% +5 +2$", shown, re.MULTILINE)
    assert delivery(run) == "delivered against trained: +1 -3, p = 0.62"
    assert f"\n{delivery(run)}\n" in shown and delivery(run) in text
    assert max(map(len, shown.split("\nreport ")[0].splitlines())) <= 80


@pytest.mark.parametrize(
    ("families", "words", "style"),
    [
        ({"a": 10 * "+" + "1110000"}, "3 of 17 before, 13 after: +10 -0, p = 0.0020. Adapter promoted.", "bold green"),
        (
            {"a": "+1000"},
            "1 of 5 before, 2 after: +1 -0, p = 1.00, which may be chance. Adapter promoted.",
            "bold green",
        ),
        ({"a": "-100"}, "2 of 4 before, 1 after: +0 -1, p = 1.00, which may be chance. Adapter refused by", "bold red"),
        ({"a": "+-00"}, "1 of 4 before, 1 after: +1 -1, p = 1.00, which may be chance. Adapter accepted by", "bold"),
        (
            {"a": "111111" + 36 * "0"},
            "No change found: 6 of 42 before and after (with 42 koans a true difference below 18 points could go "
            "unnoticed). Adapter accepted by the gate.",
            "bold",
        ),
        ({"a": "10"}, "No change found: 1 of 2 before and after (2 koans are too few to show any difference).", "bold"),
    ],
)
def test_the_first_line_says_what_came_of_the_run(families, words, style, tmp_path):
    run = summary(families)
    assert headline(run).startswith(words) and outcome_style(run) == style
    assert " ".join(printed(run, tmp_path).split()).startswith(words)
    assert paged(run, tmp_path).splitlines()[2] == f"**{headline(run)}**"
    coloured = printed(run, tmp_path, force_terminal=True)
    code = {"bold green": "\x1b[1;32m", "bold red": "\x1b[1;31m", "bold": "\x1b[1m"}[style]
    assert coloured.startswith(code + words[:20])


def test_the_first_line_of_a_refused_gain_is_not_green():
    run = summary()
    refused = replace(run, verdict=replace(run.verdict, promoted=False))
    assert outcome_style(refused) == "bold" and headline(refused).endswith("Adapter refused by the gate.")
    assert headline(replace(run, adapter=None)).endswith("Result promoted.")


def test_terminal_holds_the_numbers_within_80_columns_of_ascii(tmp_path):
    run = summary({**FAMILIES, "ownership_and_smart_pointers": 50 * "1+0"})
    text = printed(run, tmp_path)
    head, tail = text.split("\nreport ")
    assert max(map(len, head.splitlines())) <= 80
    assert text.isascii() and "\x1b" not in text
    assert re.search(r"^all +58/171 +34% 27-41 +111/171 +65% 58-72 +55 +2$", head, re.MULTILINE)
    family = r"^ownership_and_smart_pointers +50/150 +33% 26-41 +100/150 +67% 59-74 +50 +0$"
    assert re.search(family, head, re.MULTILINE)
    assert re.search(r"^median steps to a pass +1 +2$", head, re.MULTILINE)
    flat = " ".join(head.split())
    for words in (
        run.verdict.reason.removeprefix("promoted: "),
        limits(run),
        "p < 0.001 (fixes 55, regressions 2)",
        "difference +31.0 points",
        "train 1 min 23 s, evaluate 1 min 0 s; total 2 min 23 s",
        "warning: no network <guard>",
    ):
        assert words in flat
    # What a person copies is never broken into lines.
    assert f"MLflow   {run.ui_line}\n" in tail and f"gguf     {run.gguf.path}\n" in tail
    assert tail.startswith(f"  {tmp_path / 'report.md'}\n")


def test_answers_that_were_cut_are_a_warning(tmp_path):
    run = summary()
    assert warnings(run) == ["no network <guard>"]
    first, second, *rest = run.after.results
    cut = replace(second, attempts=(replace(second.attempts[0], cut=True), *second.attempts[1:]))
    run = replace(run, after=replace(run.after, results=(first, cut, *rest)))
    assert warnings(run)[1:] == ["trained: 1 of 42 answers was cut for length"]
    assert "warning: trained: 1 of 42 answers was cut for length" in printed(run, tmp_path)
    assert "> Warning: trained: 1 of 42 answers was cut for length" in paged(run, tmp_path)
    both = replace(run.after, results=(cut, replace(cut, task="b")))
    assert "> Warning: 2 of 4 answers were cut" in Report().scores(tmp_path, both, "baseline").read_text()


def test_terminal_folds_a_family_with_a_long_name(tmp_path):
    text = printed(summary({70 * "f": "1+0"}), tmp_path)
    assert text.count("f" * 20) >= 3
    assert re.search(r"1/3 +33% +6-79 +2/3 +67% 21-94 +1 +0", text)


def test_show_prints_on_stdout(tmp_path, capsys):
    run = summary()
    Report().show(run, Report(pictures=False).write(tmp_path, run))
    assert "8 of 21 before, 11 after: +5 -2" in capsys.readouterr().out
