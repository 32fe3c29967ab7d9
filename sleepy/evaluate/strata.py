"""Scores apart by how far the compiler gives a repair away: see sleepy.exam.strata."""

from __future__ import annotations

from dataclasses import replace

from sleepy.evaluate.stats import compare
from sleepy.exam.strata import NEITHER, STRATA, UNKNOWN, stratum_of
from sleepy.results import Comparison, Scores


def by_stratum(scores: Scores) -> dict[str, Scores]:
    """Stratum -> the scores on its koans, in the order of STRATA; empty where no koan has a known one."""
    found = {}
    for stratum in STRATA:
        if results := tuple(r for r in scores.results if stratum_of(r.task) == stratum):
            found[stratum] = replace(scores, results=results)
    return {} if set(found) <= {UNKNOWN} else found


def compare_unhelped(before: Scores, after: Scores) -> Comparison | None:
    """The two evaluations on the koans whose repair rustc neither shows nor suggests; None where there are none."""
    both = [by_stratum(scores).get(NEITHER) for scores in (before, after)]
    return compare(both[0], both[1]) if both[0] and both[1] else None
