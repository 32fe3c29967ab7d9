"""No training at all."""

from __future__ import annotations

from dataclasses import dataclass

from sleepy.train.algorithm import Algorithm


@dataclass(frozen=True, kw_only=True)
class NoTraining(Algorithm):
    """The baseline's weights go through merge, export and quantisation as a trained model's do: what those change is
    not the algorithms' doing."""

    trains = False
