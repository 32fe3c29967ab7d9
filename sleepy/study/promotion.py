"""The adapter in use: what a gate's verdict puts in its place, and who asks for it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath

from sleepy.adapters.folder import adapter_in
from sleepy.artifacts import BaseModel
from sleepy.errors import ModelError
from sleepy.evaluate.candidates import Adapted, Base, Live
from sleepy.gate.gate import Verdict
from sleepy.progress import say
from sleepy.study.lab import Lab
from sleepy.track.tracker import Tracker


@dataclass(frozen=True)
class InUse:
    """The adapter in use: its version in the registry, the run it came from, and the candidate that it makes."""

    version: int
    run_id: str
    candidate: Adapted


def registered_name(base: BaseModel) -> str:
    """The model in MLflow's registry whose versions are the promoted adapters of `base`."""
    return f"sleepy-{base.name}"


def in_use(tracker: Tracker, base: BaseModel) -> InUse | None:
    """The adapter of `base` that was promoted last; None where there is none. Raises ModelError for one that cannot be
    read any more."""
    promoted = tracker.promoted(registered_name(base))
    if promoted is None:
        return None
    return InUse(promoted.version, promoted.run_id, Adapted(base, adapter_in(promoted.source, base)))


def promote(lab: Lab, verdict: Verdict[Live], folder: PurePosixPath, *, beside: bool) -> bool:
    """Put the adapter of a verdict, which lies in `folder` of its run's artifacts, in use; whether that was done.

    Several routed adapters are not registered: there is no single one to use.
    With `beside` the gate must accept it beside the adapter in use as well, on the same koans and asked the same way.
    Where another job promotes one meanwhile, the comparison starts again: two jobs never both win against the same
    adapter.
    """
    if not isinstance(verdict.candidate, Adapted):
        return False
    while True:
        replacing, used = _used(lab)
        if used and used.candidate.adapter.digest == verdict.candidate.adapter.digest:
            return True
        if used and beside and not _accepted(lab, used, verdict):
            return False
        name = registered_name(lab.base)
        if lab.tracker.promote(lab.run.id, name, str(folder), replacing=replacing) is not None:
            return True
        say("another job promoted an adapter meanwhile; comparing with that one")


def _used(lab: Lab) -> tuple[int | None, InUse | None]:
    """The version in use, and the adapter where it can be read."""
    promoted = lab.tracker.promoted(registered_name(lab.base))
    if promoted is None:
        return None, None
    try:
        return promoted.version, in_use(lab.tracker, lab.base)
    except ModelError as error:
        say(f"the adapter in use, of run {promoted.run_id}, cannot be used and is replaced: {error}")
        return promoted.version, None


def _accepted(lab: Lab, used: InUse, verdict: Verdict[Live]) -> bool:
    """Whether the gate accepts the new adapter beside the one in use."""
    before = lab.measure(used.candidate, lab.panel, "in use")
    after = lab.measure(verdict.candidate, lab.panel, "gate")
    found = lab.gate.judge(before, after)
    lab.run.tags({"gate.in_use": f"run {used.run_id}: {found.reason}"})
    if not found.promoted:
        say(f"the adapter of run {used.run_id} stays in use: compared with it, this one is {found.reason}")
    return found.promoted


def to_repair_with(tracker: Tracker, base: BaseModel) -> Base | Adapted:
    """What answers a user's own questions: the adapter in use, or the untouched model where none was promoted."""
    used = in_use(tracker, base)
    say(f"using {base.name} {f'with the adapter of run {used.run_id}' if used else '(no adapter is promoted)'}")
    return used.candidate if used else Base(base)
