"""A run's summary from Scores that are made up, and what page and terminal show of one."""

from __future__ import annotations

import io
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from rich.console import Console

from sleepy.artifacts import Adapter, BaseModel, GgufFile, Task, TaskSet
from sleepy.evaluate.candidates import Base, Measured
from sleepy.evaluate.stats import compare
from sleepy.gate.no_loss import NoLoss
from sleepy.pairs.material import Mix
from sleepy.report.report import Report
from sleepy.report.summary import RunSummary
from sleepy.report.terminal import show
from sleepy.results import Attempt, Result, Scores

BASE = Base(BaseModel("model", Path(), Path(), Path(), "d"))
FAMILIES = {"borrow_checker": "111+-000+", "lifetimes": "10+++-011", "rust_2024": "000"}
WORDS = {"family": "lifetimes", "pattern": "p", "code": "E0106", "edition": "2021", "description": "", "broken": ""}
TASK = Task(id="t", level=1, fix="", tests=(), **WORDS)


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


def summary(families: dict[str, str] = FAMILIES, **changes: Any) -> RunSummary:
    before, after = pair(families)
    comparison = compare(before, after)
    run = RunSummary(
        name="lora.r=8 algo=replay",
        overrides=("lora.target_modules=[q_proj,v_proj]", "algo=replay"),
        model="qwen2.5-coder-0.5b",
        algorithm="replay",
        tasks=TaskSet("koans", "3", (TASK,)),
        rustfix=before,
        before=before,
        after=after,
        comparison=comparison,
        verdict=NoLoss().judge(Measured(BASE, before), Measured(BASE, after)),
        mixes=(("", Mix((TASK,) * 5, {"replay": 3, "success": 2})),),
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
    return replace(run, **changes)


def paged(run: RunSummary, tmp_path: Path) -> str:
    """The page, without pictures."""
    return Report(pictures=False).write(tmp_path, run).page.read_text()


def printed(run: RunSummary, tmp_path: Path, **console: Any) -> str:
    """What the terminal shows, by default one that is not a terminal."""
    out = io.StringIO()
    files = Report(pictures=False).write(tmp_path, run)
    show(run, files, Console(file=out, width=80, **console))
    return out.getvalue()


def check_texts(figure: Figure) -> None:
    """No two texts of a picture overlap, and none is cut off where the picture is saved."""
    figure.draw_without_rendering()
    texts = [*figure.texts, *(text for one in figure.legends for text in one.get_texts())]
    for axes in figure.axes:
        texts += [*axes.texts, axes._left_title]
        if axes.axison:
            for child in (axes, *axes.child_axes):
                for axis, (low, high) in ((child.xaxis, child.get_xlim()), (child.yaxis, sorted(child.get_ylim()))):
                    texts.append(axis.label)
                    ticks = [tick for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high]
                    texts += [label for tick in ticks for label in (tick.label1, tick.label2)]
    drawn = [text for text in texts if text.get_text() and text.get_visible()]
    saved = figure.get_tightbbox().padded(0.12)  # inches
    boxes = [text.get_window_extent() for text in drawn]
    for box in boxes:
        inches = box.transformed(figure.dpi_scale_trans.inverted())
        assert saved.x0 <= inches.x0 and inches.x1 <= saved.x1 and saved.y0 <= inches.y0 and inches.y1 <= saved.y1
    assert not any(a.overlaps(b) for a, b in combinations(boxes, 2))
