"""Figures of one evaluation."""

from __future__ import annotations

import statistics

from sleepy.artifacts import Scores


def summary(scores: Scores) -> dict[str, float]:
    """Named figures: pass rates as fractions (in total, by family and by level), the median number of attempts of the
    passed tasks, tokens, and seconds of generation."""
    out: dict[str, float] = {
        "pass_rate": scores.pass_rate,
        "passed": sum(r.passed for r in scores.results),
        "tasks": len(scores.results),
        "seconds": scores.seconds,
    }
    for family, (passed, total) in scores.by_family().items():
        out[f"family/{family}/pass_rate"] = passed / total
    for level in sorted({r.level for r in scores.results}):
        outcomes = [r.passed for r in scores.results if r.level == level]
        out[f"level/{level}/pass_rate"] = sum(outcomes) / len(outcomes)
    steps = [len(r.attempts) for r in scores.results if r.passed]
    if steps:
        out["median_steps"] = statistics.median(steps)
    attempts = [a for r in scores.results for a in r.attempts]
    out["prompt_tokens"] = sum(a.prompt_tokens for a in attempts)
    out["answer_tokens"] = sum(a.completion_tokens for a in attempts)
    return out
