"""What an algorithm's methods work with: the model in training."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from sleepy.train.batches import Batch, Encoded, Example, collate, encode
from sleepy.train.settings import Train
from sleepy.train.training import MEMORY, NOTHING, REWARDS, Past, Tools, Training

__all__ = ["MEMORY", "NOTHING", "REWARDS", "Past", "Tools", "Trainer"]

State = TypeVar("State")


@dataclass
class Trainer(Generic[State]):
    """What an algorithm's methods see. `model` is PEFT's; `parameters` are those that train, by name. `state` is the
    algorithm's own: what its `adapt` and `begin` returned. `kept` holds what a checkpoint must bring back besides the
    parameters."""

    training: Training
    model: Any
    tokenizer: Any
    optimizer: Any
    parameters: dict[str, Any]
    device: str
    state: State
    mixed_precision: bool = True  # see in_bf16
    step: int = 0
    resumed: int = 0  # steps that a checkpoint brought
    kept: dict[str, Any] = field(default_factory=dict)
    trainable: int = field(init=False)  # numbers in the parameters

    def __post_init__(self) -> None:
        self.trainable = sum(p.numel() for p in self.parameters.values())

    @property
    def settings(self) -> Train:
        """The training's settings."""
        return self.training.settings

    def begin_step(self, step: int) -> None:
        """Set the step's learning rate and random numbers: a resumed run draws what an unbroken one draws."""
        import torch

        self.step = step
        torch.manual_seed(self.training.seed * 1_000_003 + step)
        for group in self.optimizer.param_groups:
            group["lr"] = self.settings.rate(step)

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """The model without dropout, in the block. Layers of 4 bits stay as they train: on some CPUs bitsandbytes packs
        them for inference when it finds them in evaluation, for good, and then no gradient passes through them."""
        self.model.eval()
        for module in self.model.modules():
            module.training = hasattr(module, "quant_state")
        try:
            yield
        finally:
            self.model.train()

    def encode(self, examples: Sequence[Example]) -> list[Encoded]:
        """Examples as tokens, without those that are too long."""
        return encode(examples, self.tokenizer, self.settings.max_length)[0]

    def batch(self, rows: Sequence[Encoded]) -> Batch:
        """Encoded examples as one batch on the device."""
        pad = self.tokenizer.pad_token_id
        return collate(rows, self.tokenizer.eos_token_id if pad is None else pad, self.device)

    def nll(self, batch: Batch) -> Any:
        """Negative log-likelihood of each answer token: see answer_nll."""
        return answer_nll(self.model, batch, self.mixed_precision)


def answer_nll(model: Any, batch: Batch, mixed_precision: bool = True) -> Any:
    """Negative log-likelihood of each answer token under PEFT's `model`, shape (tokens,), in float32. With
    `mixed_precision` it is computed as `in_bf16` says.

    The model's own forward computes it, with whatever it does to its logits (Gemma2 caps them, Granite and Cohere
    scale them); but its head sees only the positions that are learned, as it is a quarter of a small model's work.
    """
    from torch.nn.functional import cross_entropy

    inner = model.get_base_model()
    hook = inner.get_output_embeddings().register_forward_pre_hook(
        lambda head, inputs: (inputs[0][batch.learn][None], *inputs[1:])
    )
    try:
        with in_bf16(model) if mixed_precision else nullcontext():
            logits = inner(input_ids=batch.ids, attention_mask=batch.mask, use_cache=False).logits
    finally:
        hook.remove()
    return cross_entropy(logits[0].float(), batch.targets, reduction="none")


@contextmanager
def in_bf16(model: Any) -> Iterator[None]:
    """On a base model in bf16 the adapter's products are computed in bf16 too, in the block. Its weights, gradients and
    moments stay in float32. Without this PEFT turns every layer's input and output into float32 and back, which takes
    a quarter of a small model's step on a CPU. It stays that way for `model`: gradient checkpointing computes once more
    after the block."""
    import torch
    from peft.tuners.tuners_utils import BaseTunerLayer

    inner = model.get_base_model()
    if inner.dtype != torch.bfloat16 or getattr(inner, "is_quantized", False):
        yield
        return
    for module in model.modules():
        if isinstance(module, BaseTunerLayer):
            module.cast_input_dtype_enabled = False
    with torch.autocast(inner.device.type, torch.bfloat16):
        yield
