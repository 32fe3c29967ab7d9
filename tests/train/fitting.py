"""A short training that the tests of all algorithms share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from sleepy.artifacts import Adapter, BaseModel, Prompt
from sleepy.train.algorithm import Algorithm
from sleepy.train.batches import Example
from sleepy.train.lora import Lora
from sleepy.train.settings import Train
from sleepy.train.sft import Sft
from sleepy.train.training import NOTHING, Past, Tools, Training

ANSWERS = [
    "pub fn one() -> u32 { 1 }\n```",
    "pub fn two() -> u32 { 1 + 1 }\n```",
    "pub fn none() {}\n```",
    'pub fn name() -> &\'static str { "koan" }\n```',
    "pub fn yes() -> bool { true }\n```",
]
# In random bytes one of these comes soon. Where it is the first, the program is empty and compiles: rewards differ.
STOPS = tuple(map(chr, range(33, 127)))
EXAMPLES = [
    Example(Prompt(({"role": "user", "content": f"Repair program {i}."},), "```rust\n", ()), a)
    for i, a in enumerate(ANSWERS)
]


def training(
    base: BaseModel,
    folder: Path,
    past: Past = NOTHING,
    *,
    examples: Sequence[Example] = EXAMPLES,
    lora: Lora | None = None,
    seed: int = 0,
    tools: Tools | None = None,
    on_step: Callable[..., object] = lambda *_: None,
    **settings: Any,
) -> Training:
    """A training of three steps; the adapter and the checkpoint are left in `folder`."""
    return Training(
        base=base,
        examples=examples,
        lora=lora or Lora(r=4, dropout=0.1),
        settings=Train(**{"steps": 3, "batch_size": 2, "lr": 1e-3, "checkpoint_every": 1, **settings}),
        device="cpu",
        seed=seed,
        folder=folder / "adapter",
        checkpoint=folder / "checkpoint",
        record={},
        past=past,
        tools=tools,
        on_step=on_step,
    )


def fit(
    base: BaseModel, folder: Path, algorithm: Algorithm | None = None, past: Past = NOTHING, **more: Any
) -> Adapter:
    """That training by an algorithm; `more` goes to `training`."""
    return (algorithm or Sft()).fit(training(base, folder, past, **more))
