"""Mean pass rates of drawn answers, and their difference. The unit is the koan: its answers resemble each other."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist, fmean, variance

from sleepy.evaluate.clusters import sign_flip
from sleepy.evaluate.stats import wilson
from sleepy.results import Scores


@dataclass(frozen=True)
class Rate:
    """The mean pass rate of `samples` drawn answers to each of `koans` koans, with its 95 % interval, as fractions."""

    koans: int
    samples: int
    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Gain:
    """The mean over koans of how much more often a model's drawn answers pass than another's, as a fraction, with its
    95 % interval. `p_value` is that of the sign-flip test with koans as clusters of answers."""

    mean: float
    low: float
    high: float
    p_value: float


@dataclass(frozen=True)
class Drawn:
    """Drawn answers of the untouched model and of the result, on the same koans at one temperature."""

    temperature: float
    before: Scores
    after: Scores


def sampled_rate(scores: Scores) -> Rate:
    """The mean pass rate of drawn answers."""
    rates, samples = _rates(scores), _samples(scores)
    return Rate(len(rates), samples, fmean(rates), *rate_interval(rates, samples))


def gain(before: Scores, after: Scores) -> Gain:
    """The paired difference of two mean pass rates, of as many answers to each of the same koans."""
    samples = max(_samples(before), _samples(after))
    changes = [a - b for b, a in zip(_rates(before), _rates(after), strict=True)]
    low, high = mean_interval(changes)
    return Gain(fmean(changes), low, high, sign_flip([round(samples * change) for change in changes]))


def rate_interval(rates: Sequence[float], samples: int, confidence: float = 0.95) -> tuple[float, float]:
    """Interval of a mean pass rate p over koans whose own `rates` come from `samples` answers each.

    The koans' variance s^2 says how many independent answers tell as much as these: m = p (1 - p) / (s^2 / n) for n
    koans, at most all answers, and n where nothing, or everything, passes. Less is known of s^2 the fewer koans there
    are, so m is reduced by (z / t)^2, t Student's with n - 1 degrees of freedom. The interval is Wilson's for m
    answers: it stays within [0, 1], and is no point where no answer passes. (0, 1) for a single koan.
    Sources: E. L. Korn and B. I. Graubard, Survey Methodology 24 (1998), 193-201, for m; C. Franco, R. J. A. Little,
    T. A. Louis and E. V. Slud, J. Surv. Stat. Methodol. 7 (2019), 334-364, for Wilson's interval with it.
    """
    koans, mean = len(rates), fmean(rates)
    if koans < 2:
        return 0.0, 1.0
    spread = variance(rates) / koans
    answers = float(koans)
    if 0 < mean < 1:
        answers = min(koans * samples, mean * (1 - mean) / spread) if spread else koans * samples
    answers *= (NormalDist().inv_cdf((1 + confidence) / 2) / _t(koans, confidence)) ** 2
    return wilson(mean * answers, answers, confidence)


def mean_interval(changes: Sequence[float], confidence: float = 0.95) -> tuple[float, float]:
    """Student's interval of a mean of differences, one a koan, which is the cluster-robust one where each koan has as
    many answers. Source: E. Miller, Adding Error Bars to Evals (2024), arXiv 2411.00640.
    (-1, 1) for a single koan."""
    if len(changes) < 2:
        return -1.0, 1.0
    half = _t(len(changes), confidence) * math.sqrt(variance(changes) / len(changes))
    return fmean(changes) - half, fmean(changes) + half


def _rates(scores: Scores) -> list[float]:
    """Each koan's share of answers that pass. One about which no model was asked has its only answer's."""
    return [fmean(a.stage == "passed" for a in r.attempts) for r in scores.results]


def _samples(scores: Scores) -> int:
    return max(len(r.attempts) for r in scores.results)


def _t(count: int, confidence: float) -> float:
    from scipy.stats import t

    return float(t.ppf((1 + confidence) / 2, count - 1))
