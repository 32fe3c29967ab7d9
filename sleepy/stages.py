"""The stages, one function each. `pipeline.job` says in what order they come and what passes between them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from sleepy.artifacts import BaseModel, Task, TaskSet
from sleepy.context import Context
from sleepy.deliver.deliver import Delivery, deliver
from sleepy.deliver.merge import merge
from sleepy.evaluate.answers import MEASURED
from sleepy.evaluate.candidates import Adapted, Base, Live, Measured, Routed
from sleepy.evaluate.clusters import clustered
from sleepy.evaluate.examiner import Examiner
from sleepy.evaluate.recovery import can_recover, recovery
from sleepy.evaluate.stats import compare
from sleepy.evaluate.strata import compare_unhelped
from sleepy.exam.audit import audit, require_proof
from sleepy.exam.audit_page import write_audit
from sleepy.exam.builtin import every_koan
from sleepy.gate.gate import Verdict
from sleepy.pairs.material import Pairs
from sleepy.progress import say
from sleepy.report.summary import pass_line, verdict_line
from sleepy.results import Scores
from sleepy.routing.route import accuracy
from sleepy.rust.messages import full_message
from sleepy.sandbox.checker import Checker
from sleepy.study.draws import draw
from sleepy.study.lab import Lab, Recipe
from sleepy.study.promotion import promote
from sleepy.study.step import Step, after_all, course, last_verdict
from sleepy.track import log

MERGED = "merged"  # folder of the merged weights, where they are to stay


def fetch(c: Context) -> BaseModel:
    """The model: brought once, mapped afterwards."""
    with c.watch.stage("fetch", unit="model"):
        base = c.s.model.fetch(c.cache)
    c.run.tags({"model.digest": base.digest})
    if "train" in c.stages and c.s.algo.trains and c.s.stream.learns:
        c.s.lora.check(base)
    return base


def prove(c: Context) -> tuple[TaskSet, Pairs, Checker]:
    """Koans, each proven by rustc, and the pairs: a user's own are proven here, those of sleepy when they are drawn."""
    pairs = c.s.data.load()
    exam = c.s.stream.exam(c.s.tasks.load(), pairs, c.s.seed)
    checker = c.s.sandbox.open(c.known)
    with c.watch.stage("prove", 2 * len(exam), "check") as done:
        require_proof(exam.tasks, checker, done, exam.places)
    log.task_set(c.run, exam, "evaluation")
    c.run.tags({"pairs.digest": pairs.digest})
    for warning in c.warnings:
        say(f"warning: {warning}")
    return exam, _proven(c, pairs, checker) if c.s.data.own else pairs, checker


def _proven(c: Context, pairs: Pairs, checker: Checker) -> Pairs:
    """A user's own pairs, each proven by rustc and with the message that rustc has for it."""
    both = (*pairs.tasks, *(pair for pair in pairs.unseen if isinstance(pair, Task)))
    if both:
        with c.watch.stage("pairs", 2 * len(both), "check") as done:
            require_proof(both, checker, done, pairs.places)
    say(f"{len(pairs) + len(pairs.chats)} pairs to train on, {len(pairs.unseen)} held out")
    checks = checker.check_all([t.broken_job for t in pairs])
    said = [t.message or full_message(check.diagnostics) for t, check in zip(pairs, checks, strict=True)]
    return replace(pairs, tasks=tuple(replace(t, message=m) for t, m in zip(pairs, said, strict=True)))


def audit_exam(c: Context, exam: TaskSet, pairs: Pairs, checker: Checker) -> None:
    """The exam examined: cheats and near-duplicates too. Raises DataError when anything is found."""
    with c.watch.stage("pairs", 2 * len(pairs), "check") as done:
        require_proof(pairs.tasks, checker, done)
    with c.watch.stage("audit", 3 * len(exam), "check") as done:
        own = {t.id for t in exam}
        others = [t for t in every_koan() if t.id not in own]
        rows, findings = audit(exam.tasks, checker, pairs.tasks, done, others)
    c.run.artifact(write_audit(c.folder, exam, rows, findings))


def open_lab(c: Context, base: BaseModel, exam: TaskSet, pairs: Pairs, checker: Checker) -> Lab:
    """Everything that trains and measures. Raises ConfigError when the gate would choose by what is reported on."""
    s = c.s
    panel = s.gate.panel(exam, s.seed) if {"gate", "train"} <= set(c.stages) else TaskSet("none", "", ())
    s.stream.check_panel(exam, panel)
    recipe = Recipe(
        name=c.choices["algo"], algo=s.algo, lora=s.lora, train=s.train, data=s.data, seed=s.seed, device=s.device,
        checkpoints=Path(s.checkpoints), ability=s.ability,
    )  # fmt: skip
    return Lab(
        recipe=recipe, base=base, pairs=pairs, exam=exam, panel=panel, gate=s.gate, checker=checker,
        examiner=open_examiner(c, checker), tracker=c.tracker, run=c.run, stages=c.watch, folder=c.folder,
    )  # fmt: skip


def open_examiner(c: Context, checker: Checker) -> Examiner:
    """What asks candidates, as the settings say."""
    return Examiner(
        engine=c.s.engine, repair=c.s.repair, judge=checker, known=c.known / MEASURED,
        episodes=Path(c.s.episodes).expanduser(), run=c.run.id, scratch=c.folder / "scratch", stages=c.watch,
    )  # fmt: skip


def baseline(c: Context, lab: Lab) -> Measured[Base]:
    """The untouched model on the exam; measured once for a model, task set, prompt and engine."""
    before = lab.measure(Base(lab.base), lab.exam, "baseline")
    log.scores(c.run, c.folder, before.scores, "baseline")
    if "train" not in c.stages:
        log.result(c.run, before.scores)
        c.run.describe(pass_line(before.scores))
    drawn = draw(lab, before.candidate, c.s.evaluate, "baseline")
    page = c.s.report.scores(c.folder, before.scores, "baseline", drawn)
    c.run.artifact(page, "report")
    if "report" not in c.stages:
        print(f"\n{page.read_text(encoding='utf-8')}\nrun {c.run.id}")
    return before


def train(c: Context, lab: Lab, before: Measured[Base]) -> tuple[Step, ...]:
    """Adapters from mixes, in the stream's order."""
    if not c.s.algo.trains and c.s.stream.learns:
        return ()
    steps = c.s.stream.run(lab)
    if went := course(before.scores, steps):
        log.course(c.run, c.folder, went)
    if not (c.s.stream.several or c.s.routing.routes):
        _tag(c, after_all(before.candidate, steps))
    return steps


def unite(c: Context, lab: Lab, steps: Sequence[Step]) -> Live:
    """What the steps come to: the stream's last candidate, or several adapters combined into one or routed."""
    result = after_all(Base(lab.base), steps)
    adapters = {step.name: step.adapter for step in steps if step.adapter}
    if c.s.stream.several and c.s.routing.routes:
        result = Routed(lab.base, adapters, c.s.routing, lab.pairs)
    elif c.s.routing.routes and isinstance(result, Adapted):
        own = c.s.algo.each_task(result.adapter, lab.base, c.folder / "tasks")  # by family or pattern
        patterns = {pair.pattern: pair.family for pair in lab.pairs}  # routers know patterns
        members = {p: own.get(p) or own[family] for p, family in patterns.items() if {p, family} & own.keys()}
        result = Routed(lab.base, members, c.s.routing, lab.pairs)
    elif c.s.stream.several:
        with c.watch.stage("combine", unit="adapter"):
            one = c.s.merge.combine(list(adapters.values()), lab.base, c.folder / "adapter", c.s.seed)
        log.adapter(c.run, one)
        if c.s.ability and (found := lab.ability(one)):
            log.ability(c.run, found, lab.steps_done)
        result = Adapted(lab.base, one)
        _tag(c, result)
    return result


def _tag(c: Context, result: Live) -> None:
    """The digest of the run's one adapter, where it ends with one."""
    if isinstance(result, Adapted):
        c.run.tags({"adapter.digest": result.adapter.digest})


def evaluate(c: Context, lab: Lab, result: Live) -> Measured[Live]:
    """The result on the exam, hot: as it would be used."""
    if isinstance(result, Routed):
        broken = lab.checker.check_all([t.broken_job for t in lab.exam])
        figures = accuracy(result.route(), lab.exam.tasks, broken, list(result.members))
        c.run.metrics({f"routing/{figure}": value for figure, value in figures.items()})
        say("routing: " + ", ".join(f"{n:g} {word}" for word, n in figures.items() if "share" not in word))
    elif isinstance(result, Adapted):
        c.run.metrics({f"held_out/{name}": value for name, value in lab.unseen_loss(result.adapter).items()})
    after = lab.measure(result, lab.exam)
    log.scores(c.run, c.folder, after.scores, "eval")
    return after


def rustfix(c: Context, lab: Lab) -> Scores:
    """What rustc's own suggestions pass of the exam, without a model."""
    found = lab.examiner.rustfix(lab.exam)
    log.scores(c.run, c.folder, found, "rustfix")
    return found


def gate(c: Context, lab: Lab, before: Measured[Base], after: Measured[Live], steps: Sequence[Step]) -> Verdict[Live]:
    """The gate's word on the result, on its own koans; what it accepts is put in use, if it also beats what is."""
    cycles = last_verdict(steps)  # cycles have asked the gate themselves
    verdict: Verdict[Live]
    if cycles:
        verdict = cycles
    else:
        gated = lab.measure(Base(lab.base), lab.panel, "gate: baseline")
        verdict = lab.judge(gated, lab.measure(after.candidate, lab.panel, "gate"))
    repeated = c.fresh is not None  # what is in use was decided when the run was new
    used = verdict.promoted and (
        repeated or promote(lab, verdict, _artifacts_of(c, verdict.candidate), beside=not cycles)
    )
    if verdict.promoted and not used and isinstance(verdict.candidate, Adapted):  # routed ones have no place to be used
        told = verdict.reason.removeprefix("promoted: ")
        reason = f"refused: the adapter in use stays; beside the base, {told}"
        verdict = replace(verdict, promoted=False, reason=reason)
    comparison = compare(before.scores, after.scores)
    log.verdict(c.run, comparison, verdict)
    log.result(c.run, after.scores, comparison)
    subject = "Adapter" if isinstance(after.candidate, Adapted) else "Result"
    c.run.describe(verdict_line(before.scores, after.scores, comparison, verdict, subject))
    for by in ("pattern", "family"):
        log.clusters(c.run, clustered(before.scores, after.scores, by))
    if unhelped := compare_unhelped(before.scores, after.scores):
        log.unhelped(c.run, unhelped)
    log.koans(c.run, before.scores, after.scores)
    return verdict


def _artifacts_of(c: Context, candidate: Live) -> PurePosixPath:
    """The folder of the run's artifacts that a candidate's adapter was logged to: see log.adapter."""
    if not isinstance(candidate, Adapted) or c.s.stream.several or candidate.adapter.folder.parent == c.folder:
        return PurePosixPath("adapter")
    return PurePosixPath("adapter", *candidate.adapter.folder.relative_to(c.folder).parent.parts)


def export(c: Context, lab: Lab, result: Live) -> tuple[Delivery, Measured | None]:
    """Files to take away, with the proof that they say what the merged weights say, and what they keep of the adapter;
    measured too if asked."""
    examples = lab.examples(lab.exam.tasks)
    prompts = [e.prompt for e in examples]
    with c.watch.stage("export", unit="model"):
        name = f"{lab.base.name} {c.choices['algo']}"
        delivery = deliver(
            result, c.s.export, prompts, c.folder / "export", name, merged=c.folder / MERGED if c.s.merge.keep else None
        )
    if isinstance(result, Adapted) and delivery.exported and c.s.export.recovery and can_recover(c.s.engine):
        found = recovery(lab.examiner, delivery.exported, result, examples, c.s.export.recovery)
        delivery = replace(delivery, recovery=found)
    log.export(c.run, delivery)
    if not (c.s.export.measure and delivery.exported):
        return delivery, None
    delivered = lab.measure(delivery.exported, lab.exam, "delivered")
    log.scores(c.run, c.folder, delivered.scores, "delivered")
    return delivery, delivered


def merge_only(c: Context, result: Live) -> None:
    """The merged weights alone, to stay: stages has merge, but not export."""
    if isinstance(result, Adapted):
        with c.watch.stage("merge", unit="model"):
            merge(result.adapter, result.model, c.folder / MERGED)
