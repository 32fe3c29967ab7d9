"""Figures of one evaluation."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from sleepy.evaluate.grades import grades
from sleepy.evaluate.strata import by_stratum
from sleepy.exam.strata import UNKNOWN
from sleepy.results import Result, Scores


def summary(scores: Scores) -> dict[str, float]:
    """Named figures of an evaluation; what cannot be said of it is left out.

    pass_rate, compile_rate: fractions of the tasks whose chosen program passes, or compiles; pass rates also by family
        and by level, and by stratum where it is known.
    pass_within/<k>: the fraction that would pass if the strategy had to choose after k attempts at each task.
    median_steps: attempts up to the chosen one, over the tasks that passed.
    repeat_error_rate: attempts after a task's first with the same kind of error as the attempt before, as a fraction of
        all attempts after the first.
    tokens_per_fix, seconds_per_fix: tokens (of prompts and answers) and seconds of generation of all tasks, over the
        number that passed; also by family.
    prompt_tokens, answer_tokens, passed, tasks: totals. seconds: of the whole evaluation.
    cut: attempts whose answer was cut for length.
    edited, blocks, unsafe_answers, unsafe_passes: see grades.
    """
    results = scores.results
    out: dict[str, float] = {
        "pass_rate": scores.pass_rate,
        "passed": sum(r.passed for r in results),
        "tasks": len(results),
        "seconds": scores.seconds,
        **_cost(results),
        **grades(scores),
    }
    for family, (passed, total) in scores.by_family().items():
        out[f"family/{family}/pass_rate"] = passed / total
        own = [r for r in results if r.family == family]
        out |= {f"family/{family}/{name}": value for name, value in _cost(own).items()}
    for level in sorted({r.level for r in results}):
        outcomes = [r.passed for r in results if r.level == level]
        out[f"level/{level}/pass_rate"] = sum(outcomes) / len(outcomes)
    for stratum, part in by_stratum(scores).items():
        if stratum != UNKNOWN:
            out[f"stratum/{stratum}/pass_rate"] = part.pass_rate
    steps = [r.steps for r in results if r.passed]
    if steps:
        out["median_steps"] = statistics.median(steps)
    attempts = [a for r in results for a in r.attempts]
    out["prompt_tokens"] = sum(a.prompt_tokens for a in attempts)
    out["answer_tokens"] = sum(a.completion_tokens for a in attempts)
    out["cut"] = sum(a.cut for a in attempts)
    if attempts:
        out["compile_rate"] = sum(r.attempts[r.chosen].stage != "compile" for r in results) / len(results)
    for k in range(max(len(r.within) for r in results)):
        out[f"pass_within/{k + 1}"] = sum(r.within[: k + 1][-1] for r in results) / len(results)
    later = [(a, b) for r in results for a, b in zip(r.attempts, r.attempts[1:], strict=False)]
    if later:
        out["repeat_error_rate"] = sum(a.signature == b.signature != "" for a, b in later) / len(later)
    return out


def cut_answers(scores: Scores) -> str:
    """How many answers were cut for length, in words; "" for none."""
    attempts = [a for r in scores.results for a in r.attempts]
    cut = sum(a.cut for a in attempts)
    return f"{cut} of {len(attempts)} answers {'was' if cut == 1 else 'were'} cut for length" if cut else ""


def _cost(results: Sequence[Result]) -> dict[str, float]:
    """What a fix costs, failures included."""
    passed = sum(r.passed for r in results)
    attempts = [a for r in results for a in r.attempts]
    if not passed or not attempts:
        return {}
    return {
        "tokens_per_fix": sum(a.prompt_tokens + a.completion_tokens for a in attempts) / passed,
        "seconds_per_fix": sum(a.seconds for a in attempts) / passed,
    }
