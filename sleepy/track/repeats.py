"""Which run is repeated or kept as a record: options."""

from __future__ import annotations

import re
from dataclasses import dataclass

from sleepy.options import choice


@dataclass(frozen=True, kw_only=True)
class Replay:
    """A recorded run, done again. `replay=ID` is short for `replay.run=ID`.

    run: id of a run, its folder, or the name of a record in conf/experiment ("": nothing is repeated).
    level: from which of these on everything must be the same for exit code 0: the mix, the adapter to the bit, the
        adapter up to rounding, the answers, rustc's verdicts on them, the paired test.
    only: "judge" has the recorded answers judged again, without a model. "all" does the whole run.
    """

    run: str = ""
    level: str = choice("answers", "mix", "adapter", "rounding", "verdicts", "test")
    only: str = choice("all", "judge")


@dataclass(frozen=True, kw_only=True)
class Record:
    """A finished run, written as an experiment to commit. `record=ID name=NAME` is short for the first two keys.

    run: id of a run, or its folder ("": nothing is written).
    name: the experiment's name, of letters, digits, hyphens and underscores.
    folder: where to, a folder called experiment. "" is conf/experiment.
    """

    run: str = ""
    name: str = ""
    folder: str = ""

    def problems(self) -> list[str]:
        """What the fields' types do not say."""
        if self.run and not re.fullmatch(r"[\w-]+", self.name):
            return [f"name: got {self.name!r}, must be letters, digits, hyphens and underscores"]
        if self.name and not self.run:
            return ["name: says what to call a record, but not of which run. Add record=ID"]
        return []
