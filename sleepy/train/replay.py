"""Fine-tuning on a mix of old, passed and failed pairs: Sleepy Coder's course correction."""

from __future__ import annotations

from dataclasses import dataclass

from sleepy.train.algorithm import Algorithm


@dataclass(frozen=True, kw_only=True)
class Replay(Algorithm):
    """Supervised fine-tuning; the mix is replay, success and hard, 44 / 42 / 14 (`data=mixed`)."""
