"""What is measured of a model besides one answer to each koan."""

from __future__ import annotations

from dataclasses import dataclass

from sleepy.options import ranged


@dataclass(frozen=True, kw_only=True)
class Evaluate:
    """Drawn answers tell models apart that fail the same koans, but not equally often.

    samples: how many answers to each koan of the exam are drawn, of the untouched model and of the result, besides the
        strategy's own; 0 draws none (0 to 64).
    temperature: the temperature at which they are drawn (above 0, at most 2).
    """

    samples: int = ranged(0, at_least=0, at_most=64)
    temperature: float = ranged(0.8, above=0, at_most=2)
