"""The report as a Markdown page that a code host shows as it is."""

from __future__ import annotations

from collections.abc import Iterable

from sleepy.artifacts import Course, Result
from sleepy.evaluate.stats import p_text, wilson
from sleepy.report.cycles_page import HEAD, LEARNING, lines
from sleepy.report.stream_page import CURVE, HEATMAP, matrix, measures
from sleepy.report.summary import RunSummary, duration, effort, limits, rows

_CYCLES = (
    "Passed koans of each cycle's candidate: of those that the gate saw, and of the exam, which it never saw. The last "
    "column says whose adapter is in use after the cycle."
)


def page(run: RunSummary, pictures: dict[str, str]) -> str:
    """The whole page. `pictures` maps a title to the name of a file beside the page."""
    parts = [f"# {_escaped(run.name)}", f"**{_escaped(run.verdict.reason)}** (gate `{run.verdict.rule}`)"]
    parts += [f"> Warning: {_escaped(warning)}" for warning in run.warnings]
    parts += ["## Result", *_result(run)]
    streamed = {title: name for title, name in pictures.items() if title in (CURVE, HEATMAP, LEARNING)}
    parts += [_picture(title, name) for title, name in pictures.items() if title not in streamed]
    if run.course:
        parts += ["## The stream", *_stream(run.course)]
    if run.history:
        parts += ["## The cycles", _table(HEAD, lines(run.history)), _CYCLES]
    parts += [_picture(title, name) for title, name in streamed.items()]
    parts += [
        "## What changed",
        *_changed(run),
        "## How it was made",
        *_made(run),
        "## How to repeat it",
        *_repeat(run),
    ]
    return "\n\n".join(parts) + "\n"


def _result(run: RunSummary) -> list[str]:
    c = run.comparison
    rates = [
        [row.name, *_rate(row.before, row.total), *_rate(row.after, row.total), str(row.fixes), str(row.regressions)]
        for row in rows(run)
    ]
    return [
        _table(["family", "baseline", "95 %", "trained", "95 %", "fixes", "regressions"], rates),
        f"Difference {100 * c.difference:+.1f} points, 95 % bootstrap interval {100 * c.interval[0]:+.1f} to "
        f"{100 * c.interval[1]:+.1f}; McNemar's exact test {p_text(c.p_value)}. {limits(run)}",
        "The intervals of the rates are Wilson's. The bootstrap draws tasks in pairs and knows only changes that "
        "happened: with few of them it is too narrow, and p is the better guide. All of this is about the choice "
        "of tasks. Another training seed may give another result.",
        _table(["effort", "baseline", "trained"], effort(run)),
    ]


def _stream(course: Course) -> list[str]:
    return [
        "\n".join(f"- {m.name} {m.value} {m.unit}, 95 % {m.low} to {m.high}: {m.meaning}." for m in measures(course)),
        _table(*matrix(course)),
        "A cell is the share of a task's koans that passed; task j is what step j learned (bold). These figures weigh "
        "tasks alike, the curve weighs koans alike. The intervals are bootstrapped over koans within their task: with "
        "few koans a task they are rough, and they know nothing of other orders or seeds.",
    ]


def _picture(title: str, name: str) -> str:
    return f"![{title}]({name})"


def _rate(passed: int, total: int) -> list[str]:
    low, high = wilson(passed, total)
    return [f"{passed}/{total} = {100 * passed / total:.1f} %", f"{100 * low:.1f} to {100 * high:.1f}"]


def _changed(run: RunSummary) -> list[str]:
    before = {r.task: r for r in run.before.results}
    after = {r.task: r for r in run.after.results}

    def listed(title: str, ids: tuple[str, ...]) -> list[str]:
        if not ids:
            return [f"{title}: none."]
        return [
            f"{title}: {len(ids)}.",
            _table(
                ["koan", "family", "pattern", "level", "baseline ended at", "trained ended at"],
                [
                    [
                        f"`{i}`",
                        before[i].family,
                        before[i].pattern,
                        str(before[i].level),
                        _end(before[i]),
                        _end(after[i]),
                    ]
                    for i in ids
                ],
            ),
        ]

    return listed("Fixes (failed before, pass now)", run.comparison.fixes) + listed(
        "Regressions (passed before, fail now)", run.comparison.regressions
    )


def _end(result: Result) -> str:
    """Where the chosen attempt ended, with rustc's codes: "passed", "test", "compile E0502"."""
    chosen = result.attempts[result.chosen]
    return " ".join([chosen.stage, *dict.fromkeys(chosen.codes)])


def _made(run: RunSummary) -> list[str]:
    facts = [
        ("MLflow run", f"`{run.run_id}`"),
        ("model", run.model),
        ("algorithm", run.algorithm),
        ("engine", run.after.engine),
        (
            "tasks",
            f"{run.tasks.name} {run.tasks.version}, {len(run.before.results)} tasks, "
            f"digest `{run.before.tasks_digest}`",
        ),
    ]
    if run.mix:
        of = ", ".join(f"{count} {part}" for part, count in run.mix.parts.items())
        facts.append(("training mix", f"{len(run.mix.examples)} examples ({of}), digest `{run.mix.digest}`"))
    if run.adapter:
        facts.append(
            (
                "adapter",
                f"{run.adapter.trainable} parameters trained over {len(run.adapter.losses)} steps and "
                f"{run.adapter.tokens} tokens in {duration(run.adapter.seconds)}, "
                f"`{run.adapter.folder}`, digest `{run.adapter.digest}`",
            )
        )
    if run.gguf:
        facts.append(
            ("export", f"{run.gguf.quantization}, {run.gguf.size} bytes, `{run.gguf.path}`, digest `{run.gguf.digest}`")
        )
        facts.append(("proof of the export", run.proof))
    stages = [[stage, duration(seconds)] for stage, seconds in run.seconds.items()]
    return [
        _table(["what", "which"], facts),
        _table(["stage", "time"], [*stages, ["in all", duration(sum(run.seconds.values()))]]),
    ]


def _repeat(run: RunSummary) -> list[str]:
    checkout = f"git checkout {run.revision}\n" if run.revision else ""
    text = [f"```sh\n{checkout}{run.command}\n```"]
    if not run.revision:
        text.append("The code was not in a git checkout: its revision is not known.")
    elif run.dirty:
        text.append("The code differed from this revision: see the diff among the run's artifacts in MLflow.")
    return [*text, "The MLflow UI opens with", f"```sh\n{run.ui_line}\n```"]


def _table(head: list[str], body: Iterable[Iterable[str]]) -> str:
    lines = [head, ["---"] * len(head), *body]
    return "\n".join("| " + " | ".join(_escaped(cell) for cell in line) + " |" for line in lines)


def _escaped(text: str) -> str:
    """Text that stays on one line, in one cell, and is not taken for HTML."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")
