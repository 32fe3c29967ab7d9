"""No training at all."""

from __future__ import annotations

from dataclasses import dataclass

from sleepy.train.algorithm import Algorithm


@dataclass(frozen=True, kw_only=True)
class NoTraining(Algorithm):
    """Nothing is trained. The baseline's weights go through merge, export and quantisation as a trained model's do,
    which shows what those alone change."""

    trains = False
