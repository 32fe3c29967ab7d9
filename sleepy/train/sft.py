"""Supervised fine-tuning as it is."""

from __future__ import annotations

from dataclasses import dataclass

from sleepy.train.algorithm import Algorithm


@dataclass(frozen=True, kw_only=True)
class Sft(Algorithm):
    """Supervised fine-tuning. What it forgets depends on the mix. `algo=naive` takes the pairs of the exam's families
    (`data=all`), `algo=targeted` all pairs of the patterns that it fails (`data=targeted`), and `algo=replay` old,
    passed and failed pairs at 44 / 42 / 14 (`data=mixed`)."""
