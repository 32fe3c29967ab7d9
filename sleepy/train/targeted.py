"""Fine-tuning on the weak patterns alone."""

from __future__ import annotations

from dataclasses import dataclass

from sleepy.train.algorithm import Algorithm


@dataclass(frozen=True, kw_only=True)
class Targeted(Algorithm):
    """Supervised fine-tuning; the mix is every pair of the patterns that the baseline fails (`data=targeted`)."""
