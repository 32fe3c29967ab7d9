"""Whether a result that the gate accepts may take the place of the adapter in use."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sleepy.adapters.folder import adapter_in
from sleepy.artifacts import Adapter, Scores
from sleepy.errors import ModelError
from sleepy.evaluate.stats import compare
from sleepy.progress import say
from sleepy.study.learner import Learner


def promote(learner: Learner, gate: Any, new: Adapter, after: Scores, folder: Path) -> None:
    """Register `new`, which lies in `folder` of its run's artifacts, as the one in use. With a `gate` only when that
    accepts it beside the one before, too; none asks no more (a stream of cycles has asked on koans of its own)."""
    if gate is None or replaces(learner, gate, new, after):
        learner.tracker.promote(learner.tracked.id, f"sleepy-{learner.base.name}", folder.as_posix())


def replaces(learner: Learner, gate: Any, new: Adapter, after: Scores) -> bool:
    """Whether the gate also accepts `new`, which scored `after`, beside the adapter that was promoted before it, on the
    same koans. That one is measured for it, once. True where there is none, or none that can be read."""
    used = learner.tracker.promoted(f"sleepy-{learner.base.name}")
    if used is None:
        return True
    try:
        adapter = adapter_in(used.source, learner.base)
    except ModelError as error:
        say(f"the adapter in use, of run {used.run_id}, is replaced: {error}")
        return True
    if adapter.digest == new.digest:
        return True
    before = learner.measure(learner.exam, adapter, "in use")
    verdict = gate.decide(compare(before, after), before, after)
    learner.tracked.tags({"gate.in_use": f"run {used.run_id}: {verdict.reason}"})
    if not verdict.promoted:
        say(f"the adapter of run {used.run_id} stays in use: beside it this one is {verdict.reason}")
    return bool(verdict.promoted)
