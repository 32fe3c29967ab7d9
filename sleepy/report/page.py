"""The report as a Markdown page that a code host shows as it is."""

from __future__ import annotations

from sleepy.evaluate.stats import p_text, wilson
from sleepy.exam.strata import stratum_of
from sleepy.report import grades, samples, strata
from sleepy.report.cycles import HEAD, LEARNING, lines
from sleepy.report.stream import CURVE, HEATMAP, matrix, measures
from sleepy.report.summary import (
    RunSummary,
    by_cluster,
    delivery,
    duration,
    effort,
    gate_reason,
    headline,
    limits,
    rows,
    warnings,
)
from sleepy.results import Course, Result
from sleepy.tables import escaped, markdown_table, picture


def page(run: RunSummary, pictures: dict[str, str]) -> str:
    """The whole page. `pictures` maps a title to the name of a file beside the page."""
    parts = [f"# {escaped(run.name)}", f"**{headline(run)}**"]
    parts.append(f"Gate `{run.verdict.rule}`: {escaped(gate_reason(run))}")
    parts += [f"> Warning: {escaped(warning)}" for warning in warnings(run)]
    parts += ["## Result", *_result(run)]
    later = {title: name for title, name in pictures.items() if title in (CURVE, HEATMAP, LEARNING)}
    parts += [picture(title, name) for title, name in pictures.items() if title not in later]
    if run.course:
        parts += ["## The stream", *_stream(run.course)]
    if run.history:
        parts += [
            "## The cycles",
            markdown_table(HEAD, lines(run.history)),
            "How many koans each cycle's candidate passed: of those that the gate saw, and of the exam, which the gate "
            "never saw. The last column names the cycle whose adapter is in use afterwards.",
        ]
    parts += [picture(title, name) for title, name in later.items()]
    parts += ["## What changed", *_changed(run), "## How it was made", *_made(run)]
    return "\n\n".join([*parts, "## How to repeat it", *_repeat(run)]) + "\n"


def _result(run: RunSummary) -> list[str]:
    c = run.comparison
    head = ["family", *(word for name in run.evaluations for word in (name, "95 %")), "fixes", "regressions"]
    rates = [
        [r.name, *(word for k in r.passed for word in _rate(k, r.total)), str(r.fixes), str(r.regressions)]
        for r in rows(run)
    ]
    parts = [
        markdown_table(head, rates),
        f"Trained against baseline: difference {100 * c.difference:+.1f} points, 95 % score interval "
        f"{100 * c.interval[0]:+.1f} to {100 * c.interval[1]:+.1f}; McNemar's exact test {p_text(c.p_value)}, "
        f"mid-{p_text(c.mid_p)} ({len(run.before.results)} koans). {limits(run)}",
        "The rates' intervals are Wilson's, that of the difference is Tango's for paired outcomes. All are about the "
        "choice of koans; another training seed may give another result.",
        *_clusters(run),
        markdown_table(strata.head(run), strata.rows(run)),
        f"{strata.LEGEND} {strata.unhelped(run)}".rstrip(),
        markdown_table(grades.HEAD, grades.rows({"rustfix": run.rustfix, **run.evaluations})),
        grades.LEGEND,
        markdown_table(["effort", *run.evaluations], effort(run)),
    ]
    if run.drawn:
        parts.insert(3, f"{'; '.join(samples.lines(run.drawn))}. The intervals and p take the koan as the unit.")
    if run.ability:
        parts.append(
            f"What it does besides koans, on {run.ability.line}, in nats a token. The texts are in "
            "`sleepy/evaluate/general`; no pair resembles them."
        )
    if delivered := delivery(run):
        parts.insert(2, f"The exported file, {delivered}.")
    return parts


def _clusters(run: RunSummary) -> list[str]:
    """The comparison by pattern and by family, where there are several."""
    found = [units.line for units in by_cluster(run)]
    why = "Koans of one pattern or family have an author, and perhaps an adapter, in common, and may change together."
    return [f"{why} With these as units: {'; '.join(found)}."] * bool(found)


def _stream(course: Course) -> list[str]:
    return [
        "\n".join(f"- {m.name} {m.value} {m.unit}, 95 % {m.low} to {m.high}: {m.meaning}." for m in measures(course)),
        markdown_table(*matrix(course)),
        "A cell is the share of a task's koans that passed. Step j learned task j (bold). These figures weigh tasks "
        "equally, the curve weighs koans equally. The intervals come from a bootstrap over koans "
        "within their task: with few koans per task they are rough, and they do not cover other orders or seeds.",
    ]


def _rate(passed: int, total: int) -> tuple[str, str]:
    low, high = wilson(passed, total)
    return f"{passed}/{total} = {100 * passed / total:.1f} %", f"{100 * low:.1f} to {100 * high:.1f}"


def _changed(run: RunSummary) -> list[str]:
    before, after = ({r.task: r for r in scores.results} for scores in (run.before, run.after))
    head = ["koan", "family", "pattern", "level", "stratum", "baseline ended at", "trained ended at"]
    parts = []
    for title, ids in (
        ("Fixes (failed before, pass now)", run.comparison.fixes),
        ("Regressions (passed before, fail now)", run.comparison.regressions),
    ):
        parts.append(f"{title}: {len(ids) or 'none'}.")
        if ids:
            changed = [(before[i], after[i]) for i in ids]
            cells = [
                [f"`{b.task}`", b.family, b.pattern, str(b.level), stratum_of(b.task), _end(b), _end(a)]
                for b, a in changed
            ]
            parts.append(markdown_table(head, cells))
    return parts


def _end(result: Result) -> str:
    """Where the chosen attempt ended, with rustc's codes: "passed", "test", "compile E0502"."""
    chosen = result.attempts[result.chosen]
    return " ".join([chosen.stage, *dict.fromkeys(chosen.codes), *(["(cut for length)"] if chosen.cut else [])])


def _made(run: RunSummary) -> list[str]:
    tasks = f"{run.tasks.name} {run.tasks.version}, {len(run.before.results)} koans"
    facts = [
        ("MLflow run", f"`{run.run_id}`"),
        ("model", run.model),
        ("algorithm", run.algorithm),
        ("engine", run.after.engine),
        ("tasks", f"{tasks}, digest `{run.before.tasks_digest}`"),
    ]
    for step, mix in run.mixes:
        of = ", ".join(f"{count} {part}" for part, count in mix.parts.items())
        name = f"training mix of {step}" if step else "training mix"
        facts.append((name, f"{len(mix.examples)} examples ({of}), digest `{mix.digest}`"))
    if a := run.adapter:
        facts.append(
            (
                "adapter",
                f"{a.trainable} trainable parameters, {len(a.losses)} steps, {a.tokens} tokens, {duration(a.seconds)}; "
                f"`{a.folder}`, digest `{a.digest}`",
            )
        )
    if g := run.gguf:
        facts.append(("export", f"{g.quantization}, {g.size} bytes; `{g.path}`, digest `{g.digest}`"))
    if run.proof:
        facts.append(("check of the export", run.proof))
    if run.held:
        facts.append(("what the file keeps", "; ".join(run.held)))
    stages = [[stage, duration(seconds)] for stage, seconds in run.seconds.items()]
    total = ["total", duration(sum(run.seconds.values()))]
    return [markdown_table(["what", "which"], facts), markdown_table(["stage", "time"], [*stages, total])]


def _repeat(run: RunSummary) -> list[str]:
    checkout = f"git checkout {run.revision}\n" if run.revision else ""
    parts = [f"```sh\n{checkout}{run.command}\n```"]
    if not run.revision:
        parts.append("The code was not in a git checkout, so its revision is not known.")
    elif run.dirty:
        parts.append("The code differed from this revision: see the diff among the run's artifacts in MLflow.")
    return [*parts, "To open the MLflow UI:", f"```sh\n{run.ui_line}\n```"]
