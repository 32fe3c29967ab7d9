"""The record of the last complete audit of what comes with sleepy: a set that is as it was then is sound."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sleepy.artifacts import TaskSet, digest_of
from sleepy.exam.audit import Finding, audit, prove
from sleepy.exam.builtin import SETS, every_koan, frozen
from sleepy.exam.read import read_tasks
from sleepy.sandbox.checker import Checker
from sleepy.sandbox.rustc import toolchain

PROOF = Path(__file__).with_name("proof.json")
_PAIRS = Path(__file__).parent.parent / "pairs" / "jsonl"


def every_set() -> list[TaskSet]:
    """The frozen sets of koans and, last, the training pairs."""
    pairs = [t for path in sorted(_PAIRS.glob("*.jsonl")) for t in read_tasks(path, needs_tests=False)]
    return [*map(frozen, SETS), TaskSet("pairs", "", tuple(pairs))]


def audit_everything(
    checker: Checker, done: Callable[[], object] = lambda: None
) -> tuple[dict[str, Any], list[Finding]]:
    """What proof.json should say, and everything that was found wrong. `done`: twice a pair, three times a koan.

    The record holds rustc's version, each set's digest, and a digest of what the audit saw: for each koan how many
    cheats were tried, which mutants its tests do not notice and what it is most like.
    """
    *exams, pairs = every_set()
    findings = prove(pairs.tasks, checker, done)
    sets = {pairs.name: {"digest": pairs.digest, "tasks": len(pairs)}}
    for tasks in exams:
        others = [t for t in every_koan() if t not in tasks.tasks]
        rows, found = audit(tasks.tasks, checker, pairs.tasks, done, others)
        findings += found
        seen = [(r.task.id, r.cheats, r.mutants, asdict(r.koan), asdict(r.pair)) for r in rows]
        sets[tasks.name] = {
            "digest": tasks.digest,
            "tasks": len(tasks),
            "cheats": sum(r.cheats for r in rows),
            "mutants": sum(r.mutants for r in rows),
            "survivors": {r.task.id: list(r.survivors) for r in rows if r.survivors},
            "seen": digest_of(seen),
        }
    return {"rustc": toolchain().version.splitlines()[0], "sets": sets}, findings
