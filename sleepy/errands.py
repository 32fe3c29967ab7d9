"""The stages that stand alone: a user's own code, runs that are there, adapters compared."""

from __future__ import annotations

from sleepy.artifacts import TaskSet
from sleepy.context import Context
from sleepy.doubts.doubts import doubts as doubts_of
from sleepy.doubts.page import write_doubts
from sleepy.files import write_text
from sleepy.own_code.repair import Surgery, find
from sleepy.own_code.subject import subject
from sleepy.progress import say
from sleepy.results_page.make import NAME, page_of_runs
from sleepy.stages import fetch, open_examiner
from sleepy.study.promotion import to_repair_with
from sleepy.subspace import page
from sleepy.track.adapters import adapter_folders


def repair(c: Context) -> None:
    """A user's own file or project, repaired by the adapter in use."""
    base = fetch(c)
    checker = c.s.sandbox.open(c.cache)
    candidate = to_repair_with(c.tracker, base)
    surgery = Surgery(open_examiner(c, checker), checker, candidate, c.folder / "doubts", c.s.cargo_test)
    diff = surgery.repair(find(c.s.file), c.s.edition, c.s.write)
    c.run.text(diff, "repair.diff")
    if surgery.pages.is_dir():
        c.run.artifact(surgery.pages)
    print(diff, end="")


def report_runs(c: Context) -> None:
    """The results page of runs that are there."""
    with c.watch.stage("report", unit="page"):
        made = page_of_runs(c.tracker, c.s.report.runs, c.cache)
        target = c.folder / NAME
        write_text(target, made.html)
        c.run.artifact(target, "report")
        c.run.describe(made.description)
    print(f"{made.description}\n{target}")


def doubts(c: Context) -> None:
    """The page about one file or koan: where the candidate in use doubts, and what asking it for a repair gives."""
    base = fetch(c)
    checker = c.s.sandbox.open(c.cache)
    candidate = to_repair_with(c.tracker, base)
    task, examiner = subject(c.s.file, c.s.tasks, c.s.edition), open_examiner(c, checker)
    if checker.check(*task.broken_job).passed:
        say(f"{task.id} compiles: there is nothing to repair")
        return
    (result,) = examiner.measure(candidate, TaskSet(task.id, "", (task,)), "doubts").scores.results
    found = doubts_of(examiner, candidate, task, result, checker)
    target = c.folder / "doubts.html"
    write_doubts(target, found)
    c.run.artifact(target)
    say(f"{task.id}: {found.tried}. Written to {target}")


def subspace(c: Context) -> None:
    """What several adapters have in common, beside chance and their mean."""
    section = c.s.subspace
    findings = section.analyse(adapter_folders(c.tracker, section.runs), c.s.seed, c.watch)
    c.run.metrics(page.metrics(findings))
    with c.watch.stage("draw", unit="page"):
        files = section.write(c.folder, findings)
        for path in files:
            c.run.artifact(path, "subspace")
    page.show(findings, {"report": str(files[0]), "MLflow": c.tracker.ui_line()})
