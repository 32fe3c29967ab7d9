"""The report of real Scores: page, pictures and terminal table hold the same figures."""

from __future__ import annotations

import dataclasses
import io
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.image import imread
from rich.console import Console

from sleepy.artifacts import Adapter, Attempt, GgufFile, Mix, Result, Scores, Task, TaskSet
from sleepy.evaluate._stats import compare
from sleepy.gate.no_loss import NoLoss
from sleepy.report import _plots
from sleepy.report._summary import RunSummary, duration, limits, median_steps, rows
from sleepy.report._terminal import show
from sleepy.report.full import Full
from sleepy.schema import problems_of

FAMILIES = {"borrow_checker": "111+-000+", "lifetimes": "10+++-011", "rust_2024": "000"}


def result(family: str, number: int, passed: bool, steps: int, level: int) -> Result:
    failed = Attempt("", "", "compile", ("E0502", "E0502", "E0499"), 300, 40, 1.0)
    end = Attempt("", "", "passed", (), 310, 41, 1.0) if passed else failed
    return Result(f"{family}_{number:02}", family, "a|b", level, passed, (*[failed] * (steps - 1), end))


def pair(families: dict[str, str]) -> tuple[Scores, Scores]:
    """Scores before and after: "+" fix, "-" regression, "1" and "0" same; levels 1 to 3 in turn, two steps after."""

    def scores(passing: str, steps: int) -> Scores:
        results = tuple(
            result(family, i, word in passing, steps, i % 3 + 1)
            for family, words in families.items()
            for i, word in enumerate(words)
        )
        return Scores("koans", "dd" * 32, "model", "llama_cpp", results, 12.5)

    return scores("-1", 1), scores("+1", 2)


def summary(families: dict[str, str] = FAMILIES) -> RunSummary:
    before, after = pair(families)
    comparison = compare(before, after)
    task = Task(
        id="t",
        family="lifetimes",
        pattern="p",
        level=1,
        code="E0106",
        edition="2021",
        description="",
        broken="",
        fix="",
        tests=(),
    )
    return RunSummary(
        name="lora.r=8 algo=replay",
        overrides=("lora.target_modules=[q_proj,v_proj]", "algo=replay"),
        model="qwen2.5-coder-0.5b",
        algorithm="replay",
        tasks=TaskSet("koans", "3", (task,)),
        before=before,
        after=after,
        comparison=comparison,
        verdict=NoLoss().decide(comparison, before, after),
        mix=Mix((task,) * 5, {"replay": 3, "success": 2}),
        adapter=Adapter(Path("out/adapter"), "aa" * 32, "qwen", (2.0, 1.5), 83.0, 4_399_104, 2345),
        gguf=GgufFile(Path("out/" + 60 * "x" + "/merged.gguf"), "q4_k_m", "bb" * 32, 397_807_936),
        proof="4 of 4 texts equal",
        seconds={"train": 83.0, "evaluate": 60.4},
        run_id="0123abcd",
        ui_line="cd '" + 90 * "y" + "' && mlflow ui",
        revision="c0ffee1",
        dirty=False,
        warnings=("no network <guard>",),
    )


def printed(run: RunSummary, tmp_path: Path, width: int = 80) -> str:
    """What the terminal shows where it is not a terminal."""
    out = io.StringIO()
    files = Full(pictures=False).write(tmp_path, run)
    show(run, files, Console(file=out, width=width))
    return out.getvalue()


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


words = st.tuples(st.text("+-10", min_size=1, max_size=8), st.integers(1, 40)).map(lambda w: w[0] * w[1])
grids = st.dictionaries(st.sampled_from(["a", "b", "c"]), words, min_size=1)


@given(grids)
@settings(max_examples=60)
def test_grid_places_every_koan_once_in_its_family_and_level(families):
    before, after = pair(families)
    grid = _plots.layout(before, after)
    assert Counter(c.task for c in grid.cells) == Counter(r.task for r in before.results)
    assert len({(c.column, c.line) for c in grid.cells}) == len(grid.cells)
    found = {c.task: c for c in grid.cells}
    word = {"+": "gained", "-": "lost", "1": "both", "0": "neither"}
    for r in before.results:
        cell = found[r.task]
        assert cell.outcome == word[families[r.family][int(r.task.rsplit("_", 1)[1])]]
        (first, wide), (line, high) = grid.levels[r.level], grid.lines[r.family]
        assert first <= cell.column < first + wide and line <= cell.line < line + high
    assert sum(wide for _, wide in grid.levels.values()) <= _plots.WIDEST + 3
    spans = sorted([*grid.lines.values()])
    assert max(high for _, high in spans) <= -(-len(before.results) // _plots.WIDEST)
    assert [line for line, _ in spans] == [sum(high for _, high in spans[:i]) for i in range(len(spans))]


def test_grid_picture_counts_agree_with_the_comparison():
    run = summary({name: words * 10 for name, words in FAMILIES.items()})
    figure = _plots.koans(run.before, run.after)
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
    axes = _plots.families(rows(run)).axes[0]
    assert [bar.get_width() for bar in axes.patches] == pytest.approx(
        [100 * r.before / r.total for r in rows(run)] + [100 * r.after / r.total for r in rows(run)]
    )
    assert axes.get_xlim() == (0, 100)
    ends = axes.collections[0].get_segments()  # the baseline's intervals
    assert ends[0][:, 0] == pytest.approx([20.8, 59.1], abs=0.05)
    assert ends[3][:, 0] == pytest.approx([0, 56.1], abs=0.05)


def test_learning_curve_is_smoothed_only_where_there_is_enough():
    few = _plots.learning_curve([2.0, 1.0]).axes[0]
    assert [line.get_gid() for line in few.lines] == ["losses"]
    assert "too few" in few.get_title(loc="left")
    assert list(few.get_xticks()) == [1, 2]
    many = _plots.learning_curve([float(i % 2) for i in range(100)]).axes[0]
    assert [line.get_gid() for line in many.lines] == ["losses", "smoothed"]
    x, y = many.lines[1].get_data()
    assert (x[0], x[-1]) == (6, 95) and y == pytest.approx([(5 + i % 2) / 11 for i in range(90)])
    assert few.get_ylim()[0] == many.get_ylim()[0] == 0


def test_learning_curve_shows_negative_losses():
    assert _plots.learning_curve([0.5, -0.5]).axes[0].get_ylim()[0] < -0.5


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
        _plots.koans(run.before, run.after),
        _plots.families(rows(run)),
        _plots.learning_curve([1.0 / (i + 1) for i in range(losses)]),
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
