"""How long a run will take, said at its start."""

from __future__ import annotations

from sleepy.context import Context
from sleepy.progress import say, spoken
from sleepy.study.single import Single
from sleepy.track.times import Asks, expected

_RECENT = 50  # earlier runs that are looked at


def foretell(c: Context) -> None:
    """Say what each stage may take, by earlier runs. It serves a person's plans alone, so whatever goes wrong here does
    not end the run."""
    try:
        ours = c.tracker.find(c.run.id)
        found = expected(ours.data.params, c.tracker.recent(_RECENT), _asks(c)) if ours else None
    except Exception as error:  # of any kind: a user's data, a store that another program locks
        say(f"expected time: unknown ({type(error).__name__})")
        return
    if not found:
        say("expected time: no earlier run to go by")
        return
    stages = ", ".join(f"{stage} {spoken(seconds)}" for stage, seconds in found.seconds.items())
    say(f"expected time: {spoken(sum(found.seconds.values()))} ({stages}), by run {found.run}")
    c.watch.expect(found.seconds, repeat=not isinstance(c.s.stream, Single))


def _asks(c: Context) -> Asks:
    if "prove" not in c.stages:
        return Asks(0, 0)
    exam = c.s.stream.exam(c.s.tasks.load(), c.s.data.load(), c.s.seed)
    return Asks(len(exam), len(c.s.gate.panel(exam, c.s.seed)) if "gate" in c.stages else 0)
