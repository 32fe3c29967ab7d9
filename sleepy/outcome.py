"""What a whole run came to, and its report."""

from __future__ import annotations

from dataclasses import dataclass

from sleepy.context import Context
from sleepy.deliver.deliver import Delivery
from sleepy.evaluate.candidates import Adapted, Base, Live, Measured, Routed
from sleepy.evaluate.samples import Drawn
from sleepy.evaluate.stats import compare
from sleepy.gate.gate import Verdict
from sleepy.report.summary import RunSummary
from sleepy.results import Scores
from sleepy.study.lab import Lab
from sleepy.study.step import Step, course, history
from sleepy.track import log


@dataclass(frozen=True)
class Outcome:
    """What a whole run came to."""

    rustfix: Scores
    before: Measured[Base]
    steps: tuple[Step, ...]
    after: Measured[Live]
    drawn: Drawn | None
    verdict: Verdict[Live]
    delivery: Delivery | None
    delivered: Measured | None


def report(c: Context, lab: Lab, o: Outcome) -> None:
    """The table in the terminal, and the page with its pictures."""
    revision, dirty = log.code(c.run)
    exported = o.delivery.exported if o.delivery else None
    result = o.after.candidate
    adapter = result.adapter if isinstance(result, Adapted) else None
    ability = lab.ability(adapter) if adapter and c.s.ability else None
    with c.watch.stage("report", unit="page"):
        summary = RunSummary(
            name=" ".join(c.overrides) or "defaults",
            overrides=c.overrides,
            model=lab.base.name,
            algorithm=_made(c, result),
            tasks=lab.exam,
            rustfix=o.rustfix,
            before=o.before.scores,
            after=o.after.scores,
            drawn=o.drawn,
            delivered=o.delivered.scores if o.delivered else None,
            cached=frozenset(n for n, m in (("baseline", o.before), ("trained", o.after)) if m.cached),
            comparison=compare(o.before.scores, o.after.scores),
            verdict=o.verdict,
            mixes=tuple((step.name, step.mix) for step in o.steps if step.mix),
            adapter=adapter,
            ability=ability,
            gguf=exported.file if exported else None,
            proof=o.delivery.proof if o.delivery else "",
            held=o.delivery.held if o.delivery else (),
            seconds=c.watch.seconds,
            run_id=c.run.id,
            ui_line=c.tracker.ui_line(),
            revision=revision,
            dirty=dirty,
            warnings=(*c.warnings, *(o.delivery.warnings if o.delivery else ())),
            course=course(o.before.scores, o.steps),
            history=history(o.before.scores, o.steps),
        )
        files = c.s.report.write(c.folder, summary)
        for path in (files.page, *files.pictures):
            c.run.artifact(path, "report")
    c.s.report.show(summary, files)


def _made(c: Context, result: Live) -> str:
    """How the model came about, in a few words."""
    if not (c.s.stream.several or isinstance(result, Routed)):
        return c.choices["algo"]
    group = "routing" if isinstance(result, Routed) else "merge"
    return f"{c.choices['algo']}, stream={c.choices['stream']}, {group}={c.choices[group]}"
