"""Drawn answers of the untouched model and of the result, measured and recorded."""

from __future__ import annotations

from sleepy.evaluate.candidates import Candidate
from sleepy.evaluate.samples import Drawn
from sleepy.evaluate.settings import Evaluate
from sleepy.results import Scores
from sleepy.study.lab import Lab
from sleepy.track import log


def draw(lab: Lab, candidate: Candidate, settings: Evaluate, prefix: str) -> Scores | None:
    """A candidate's drawn answers to the exam, recorded under `prefix`; None where none are asked for."""
    drawn = lab.examiner.draw(candidate, lab.exam, settings, f"{prefix}: samples")
    if drawn:
        log.samples(lab.run, lab.folder, drawn, prefix)
    return drawn


def draw_both(lab: Lab, before: Candidate, after: Candidate, settings: Evaluate) -> Drawn | None:
    """Drawn answers of the result beside the untouched model's, which are in the cache since the baseline."""
    first, second = draw(lab, before, settings, "baseline"), draw(lab, after, settings, "eval")
    if first is None or second is None:
        return None
    drawn = Drawn(settings.temperature, first, second)
    log.sampled_gain(lab.run, drawn)
    return drawn
