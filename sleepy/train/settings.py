"""Optimisation settings shared by all algorithms."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from sleepy.options import choice, ranged


@dataclass(frozen=True, kw_only=True)
class Train:
    """AdamW with warm-up and decay.

    steps: optimiser steps (at least 1).
    epochs: passes over the mix instead of `steps`. With 0, `steps` counts (at least 0).
    batch_size: pairs in one forward pass (at least 1).
    grad_accum: forward passes per step (at least 1).
    lr: peak learning rate (above 0).
    warmup: share of the steps during which the rate rises (0 to 1).
    decay: how the rate falls afterwards: linear or cosine to zero, or not at all.
    weight_decay: the weight decay of AdamW (at least 0).
    max_grad_norm: gradients are clipped to this norm (above 0).
    max_length: length of the longest pair in tokens. Longer ones are left out, and the run says how many (at least 64).
    precision: precision of the frozen weights. "auto" is bf16 where the device computes in it, else fp32. bf16 takes
        half the memory.
    quantization: "nf4" keeps the frozen weights in 4 bits (QLoRA, through bitsandbytes).
    attention: the implementation of attention. "auto" is FlashAttention 2 on CUDA where it is installed, else sdpa.
    gradient_checkpointing: recompute activations instead of keeping them. It takes less memory and up to half again the
        time.
    checkpoint_every: steps between checkpoints, from which a killed run resumes (at least 1).
    """

    steps: int = ranged(40, at_least=1)
    epochs: float = ranged(0.0, at_least=0)
    batch_size: int = ranged(1, at_least=1)
    grad_accum: int = ranged(1, at_least=1)
    lr: float = ranged(3e-4, above=0)
    warmup: float = ranged(0.1, at_least=0, at_most=1)
    decay: str = choice("linear", "cosine", "constant")
    weight_decay: float = ranged(0.0, at_least=0)
    max_grad_norm: float = ranged(1.0, above=0)
    max_length: int = ranged(1024, at_least=64)
    precision: str = choice("auto", "bf16", "fp32")
    quantization: str = choice("none", "nf4")
    attention: str = choice("auto", "sdpa", "eager", "flash_attention_2")
    gradient_checkpointing: bool = False
    checkpoint_every: int = ranged(10, at_least=1)

    def on(self, examples: int) -> Train:
        """These settings with `epochs` over so many examples turned into steps."""
        if not self.epochs:
            return self
        return replace(self, epochs=0.0, steps=math.ceil(self.epochs * examples / (self.batch_size * self.grad_accum)))

    def rate(self, step: int) -> float:
        """The learning rate of step `step`, counted from 0: linear warm-up to `lr`, then the decay."""
        rising = round(self.warmup * self.steps)
        if step < rising:
            return self.lr * (step + 1) / rising
        left = (self.steps - step) / max(1, self.steps - rising)
        return self.lr * {"linear": left, "cosine": 0.5 - 0.5 * math.cos(math.pi * left), "constant": 1.0}[self.decay]
