"""A recorded run done again: what is checked before, and what is said after."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from sleepy.errors import ConfigError, SleepyError
from sleepy.identity import Identities
from sleepy.preflight import planned
from sleepy.replay.circumstances import MUST_BE_SAME, preflight, todays
from sleepy.replay.levels import LEVELS, from_level, levels, reached
from sleepy.replay.lines import DIFFERS, SAME, UNKNOWN, Line, line_of_many, named, table
from sleepy.replay.made import made_by, verdict
from sleepy.replay.recorded import PLACES, Recorded, recorded
from sleepy.results import Scores
from sleepy.settings import Settings, settings
from sleepy.track.run import Run
from sleepy.track.tracker import REPEATS, Tracker

FRESH = "fresh"  # folder of what a repetition finds anew: verdicts, scores, checkpoints, episodes
REPORT = "report/replay.md"


class NotTheSame(SleepyError):
    """A repetition that did not come to the same."""


@dataclass(frozen=True)
class Repetition:
    """A recorded run that is to be done again: the settings that it is done with, the config behind them, and the
    lines of the preflight."""

    earlier: Recorded
    s: Settings
    config: dict[str, Any]
    stages: tuple[str, ...]
    lines: tuple[Line, ...]
    level: str

    @property
    def tags(self) -> dict[str, str]:
        """What tells a repetition from other runs."""
        return {REPEATS: self.earlier.name, "sleepy.level": self.level}

    def conclude(self, tracker: Tracker, run: Run) -> None:
        """Say how far `run`, which has finished, came to the same. Raises NotTheSame unless it did from the level on
        that was asked for."""
        stored = tracker.find(run.id)
        assert stored is not None, run.id
        self.say(run, levels(self.earlier.made, made_by(tracker, stored)))

    def judge(self, tracker: Tracker, folder: Path) -> None:
        """Have the recorded answers judged again by the compiler that is here, whatever they were judged with. Raises
        NotTheSame where a verdict is another one."""
        if not self.earlier.scores:
            raise ConfigError(f"{self.earlier.name}: has no answers that could be judged again. Give a run's id")
        with tracker.run(name=f"judge {self.earlier.name}", tags=self.tags, parent=self.earlier.run or None) as run:
            found = _judged(self.s, self.earlier.scores, folder / FRESH)
        self.say(run, [found])

    def say(self, run: Run, found: Sequence[Line]) -> None:
        """Print and record the lines. Raises NotTheSame."""
        lacking = [line for line in from_level(found, self.level) if line.state != SAME]
        pages = table("made with", self.lines), table(f"repeats {self.earlier.name}", found)
        run.text("\n\n".join(pages) + "\n", REPORT)
        run.tags({"sleepy.same": reached(found)})
        print(f"\n{pages[1]}\n\nrun {run.id}")
        if lacking or not found:
            what = ", ".join(f"{line.what} ({line.state})" for line in lacking) or "there is nothing to compare"
            raise NotTheSame(
                f"not the same at replay.level={self.level}: {what}. All of it is in {REPORT} of run {run.id}"
            )


def begin(today: Settings, words: Sequence[str], tracker: Tracker, folder: Path) -> Repetition:
    """The run that `today.replay` names, checked against what is here. `words` are the overrides of the command line;
    what the repetition measures goes to `folder`.

    Raises ConfigError for words that would change the run, for a run that cannot be repeated, and, unless only the
    answers are to be judged, where the model, the exam or the record's config is not the same.
    """
    extra = [word for word in words if word.lstrip("+").partition("=")[0].partition(".")[0] not in PLACES]
    if extra:
        raise ConfigError(f"replay runs the recorded config as it is: leave out {', '.join(extra)}")
    earlier, judging = recorded(today.replay.run, tracker), today.replay.only == "judge"
    fresh = folder / FRESH
    own = {"cache": today.cache, "checkpoints": str(fresh / "checkpoints"), "episodes": str(fresh / "episodes.db")}
    config = {**earlier.config, **own}
    s = replace(settings(OmegaConf.create(config)), track=today.track)
    stages = planned(s.stages)
    if "repair" in stages:
        raise ConfigError(f"{earlier.name}: it repaired files of yours, which is not done again")
    now = todays(s, ("prove",) if judging else stages)
    if not judging:  # all of it that determines the result, in one digest
        now["job"] = Identities(tracker, Path(s.cache).expanduser()).of(s, stages, config).digest
    lines = [*earlier.drift, *preflight(earlier.circumstances, now)]
    print(table("made with", lines))
    stop = [line for line in lines if line.state == DIFFERS and line.what in ("config", *MUST_BE_SAME)]
    if stop and not judging:
        told = "; ".join(f"{line.what}: {line.note}" for line in stop)
        raise ConfigError(f"{earlier.name} cannot be repeated here, nothing was run: {told}")
    return Repetition(earlier, s, config, stages, tuple(lines), "verdicts" if judging else today.replay.level)


def _judged(s: Settings, scores: dict[str, Scores] | Any, cache: Path) -> Line:
    """Every recorded answer judged again, without a cache."""
    tasks = {task.id: task for task in s.stream.exam(s.tasks.load(), s.data.load(), s.seed)}
    checker = s.sandbox.open(cache)
    asked = [(f"{name}/{r.task}", r) for name, found in scores.items() for r in found.results]
    there = [(name, r) for name, r in asked if r.task in tasks]
    jobs = [tasks[r.task].repaired_job(attempt.program) for _, r in there for attempt in r.attempts]
    checks = iter(checker.check_all(jobs))
    now, busy = {}, []
    for name, r in there:
        mine = [next(checks) for _ in r.attempts]
        attempts = tuple(
            replace(a, stage=check.stage, codes=check.codes) for a, check in zip(r.attempts, mine, strict=True)
        )
        now[name] = verdict(replace(r, attempts=attempts, passed=attempts[r.chosen].stage == "passed"))
        busy += [name] if any(check.by_load for check in mine) else []
    line = line_of_many(LEVELS["verdicts"], {name: verdict(r) for name, r in asked}, now)
    if line.state == SAME or not busy:
        return line
    return Line(line.what, UNKNOWN, f"the machine was busy: {named(busy)}; {line.note}")
