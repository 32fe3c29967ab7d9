"""A run's summary from Scores that are made up, and what the terminal shows of one."""

from __future__ import annotations

import io
from pathlib import Path

from rich.console import Console

from sleepy.artifacts import Adapter, Attempt, GgufFile, Mix, Result, Scores, Task, TaskSet
from sleepy.evaluate.stats import compare
from sleepy.gate.no_loss import NoLoss
from sleepy.report.report import Full
from sleepy.report.summary import RunSummary
from sleepy.report.terminal import show

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
