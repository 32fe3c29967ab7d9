"""What an evaluation gives: attempts, results, scores, and two scores compared. Frozen, and plain enough for JSON."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Attempt:
    """One try at a task. `signature`: the kind of error it gives ("": none); `by_load`: the load may have failed it;
    `cut`: the answer was cut for length. `blocks` of the task's `tests` blocks passed; None where an earlier version
    did not count them. `edited`: the program is not the broken one, comments and white space aside; `unsafe`: it uses
    an escape from Rust's guarantees that the reference fix does not (sleepy.rust.escapes). None where nobody looked."""

    text: str
    program: str
    stage: str
    codes: tuple[str, ...]
    prompt_tokens: int
    completion_tokens: int
    seconds: float
    signature: str = ""
    by_load: bool = False
    cut: bool = False
    blocks: int | None = None
    tests: int = 0
    edited: bool | None = None
    unsafe: bool | None = None


@dataclass(frozen=True)
class Result:
    """A task's outcome: its attempts in order, the place of the one that the strategy chose (-1: the last), and whether
    that one passes. `within[k]`: whether the one passes that it would choose after k + 1 attempts."""

    task: str
    family: str
    pattern: str
    level: int
    passed: bool
    attempts: tuple[Attempt, ...]
    chosen: int = -1
    within: tuple[bool, ...] = ()

    @property
    def steps(self) -> int:
        """Attempts up to the chosen one."""
        return len(self.attempts) if self.chosen < 0 else self.chosen + 1


@dataclass(frozen=True)
class Scores:
    """Results over a task set, in the set's order."""

    tasks: str
    tasks_digest: str
    model: str
    engine: str
    results: tuple[Result, ...]
    seconds: float

    @property
    def pass_rate(self) -> float:
        return sum(r.passed for r in self.results) / len(self.results)

    def by_family(self) -> dict[str, tuple[int, int]]:
        """Family -> (passed, total), families in order of first appearance."""
        of = {r.family: [x.passed for x in self.results if x.family == r.family] for r in self.results}
        return {family: (sum(outcomes), len(outcomes)) for family, outcomes in of.items()}


@dataclass(frozen=True)
class Course:
    """How a stream went: its steps' names, the koans that belong to each step, the base model's scores on all of
    them, and the scores after each step."""

    steps: tuple[str, ...]
    groups: tuple[tuple[str, ...], ...]
    before: Scores
    after: tuple[Scores, ...]


@dataclass(frozen=True)
class Comparison:
    """Two evaluations of the same tasks, paired task by task. `fixes` failed before and pass now. `p_value` is
    of McNemar's exact test, `mid_p` of its mid-p form: see sleepy.evaluate.stats."""

    fixes: tuple[str, ...]
    regressions: tuple[str, ...]
    difference: float
    interval: tuple[float, float]
    p_value: float
    mid_p: float
    detectable: float
