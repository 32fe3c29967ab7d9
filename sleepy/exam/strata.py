"""How far the compiler itself gives a koan's repair away. `python -m sleepy.exam.strata` records it in strata.json."""

from __future__ import annotations

import functools
import json
import os
import re
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from sleepy.artifacts import Task
from sleepy.exam.builtin import SETS, frozen
from sleepy.files import write_json
from sleepy.progress import Stages
from sleepy.rust.messages import short_message
from sleepy.sandbox.bwrap import Bwrap
from sleepy.sandbox.checker import Checker
from sleepy.sandbox.rustc import toolchain
from sleepy.sandbox.rustfix import rustfixed

FILE = Path(__file__).with_name("strata.json")
SHOWN, SUGGESTED, NEITHER, UNKNOWN = "shown", "suggested", "neither", "unknown"
STRATA = (SHOWN, SUGGESTED, NEITHER, UNKNOWN)
_SHOWN = re.compile(r"^    line (\d+): `(.*?)`$", re.MULTILINE | re.DOTALL)


def stratum_of(task: str) -> str:
    """The stratum of a koan by its id: "shown" (the prompt's short message shows every line of a repair, ready to be
    copied), "suggested" (rustc's suggestions, applied, repair it, but the prompt does not show them whole), "neither";
    "unknown" for what does not come with sleepy as a koan."""
    return _recorded().get(task, UNKNOWN)


def strata(tasks: Sequence[Task], checker: Checker, done: Callable[[], object] = lambda: None) -> dict[str, str]:
    """Id -> stratum, found by trying both repairs. `done` is called once a task."""
    jobs = [t.broken_job for t in tasks]
    broken = checker.check_all(jobs)
    texts = [copied(t.broken, short_message(b.diagnostics, t.broken)) for t, b in zip(tasks, broken, strict=True)]
    fixed = [text for text, _ in rustfixed(checker, jobs, broken)]
    by_copy, by_fix = (
        checker.check_all([t.repaired_job(text) for t, text in zip(tasks, programs, strict=True)], called)
        for programs, called in ((texts, done), (fixed, lambda: None))
    )
    return {
        t.id: SHOWN if copy.passed else SUGGESTED if fix.passed else NEITHER
        for t, copy, fix in zip(tasks, by_copy, by_fix, strict=True)
    }


def copied(program: str, message: str) -> str:
    """The program with every line that a short message's helps show put in its place, indented as it was."""
    lines = program.split("\n")
    for number, text in reversed(_SHOWN.findall(message)):  # where helps differ about a line, the first one stands
        old = lines[int(number) - 1]
        lines[int(number) - 1] = old[: len(old) - len(old.lstrip())] + text
    return "\n".join(lines)


def recorded_strata(checker: Checker, done: Callable[[], object] = lambda: None) -> dict[str, Any]:
    """What strata.json should say: rustc's version, and each set's digest with the stratum of each koan."""
    sets = {name: frozen(name) for name in SETS}
    found = {name: {"digest": s.digest, "strata": strata(s.tasks, checker, done)} for name, s in sets.items()}
    return {"rustc": toolchain().version.splitlines()[0], "sets": found}


@functools.cache
def _recorded() -> dict[str, str]:
    sets = json.loads(FILE.read_text(encoding="utf-8"))["sets"].values()
    return {task: stratum for one in sets for task, stratum in one["strata"].items()}


def main() -> None:
    """Write the record, and print how many koans of each set are in each stratum."""
    checker = Bwrap().open(Path(os.environ.get("SLEEPY_CACHE", "~/.cache/sleepy")).expanduser())
    with Stages().stage("strata", sum(len(frozen(name)) for name in SETS), "koan") as done:
        record = recorded_strata(checker, done)
    write_json(FILE, record)
    for name, one in record["sets"].items():
        print(name, dict(Counter(one["strata"].values())))


if __name__ == "__main__":
    main()
