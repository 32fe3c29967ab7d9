"""Fine-tuning on the failures alone: what Sleepy Coder did first, and what forgets most."""

from __future__ import annotations

from dataclasses import dataclass

from sleepy.train.algorithm import Algorithm


@dataclass(frozen=True, kw_only=True)
class Naive(Algorithm):
    """Supervised fine-tuning; the mix is the pairs that the baseline fails (`data=failures`)."""
