"""The training loop that every algorithm shares. An algorithm overrides `Algorithm.step` or `Algorithm.loss`."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from sleepy.algo import _checkpoint
from sleepy.algo._batches import Batch, Example, collate, encode, schedule
from sleepy.algo._device import check_machine, load_base, pick_device
from sleepy.algo._interrupt import deferred
from sleepy.artifacts import Adapter, BaseModel
from sleepy.errors import TrainingError
from sleepy.lora.default import Lora
from sleepy.progress import say
from sleepy.train.default import Train


@dataclass
class Trainer:
    """What an algorithm's methods see. `model` is PEFT's; `parameters` are those that train, by name."""

    model: Any
    optimizer: Any
    parameters: dict[str, Any]
    train: Train
    device: str
    step: int = 0

    def nll(self, batch: Batch) -> Any:
        """Negative log-likelihood of each answer token, shape (tokens,), in float32. The head sees the positions that
        are learned and no others: it is a quarter of a small model's work."""
        from torch.nn.functional import cross_entropy

        inner = self.model.get_base_model()
        hidden = inner.get_decoder()(input_ids=batch.ids, attention_mask=batch.mask).last_hidden_state
        logits = inner.get_output_embeddings()(hidden[batch.learn])
        return cross_entropy(logits.float(), batch.targets, reduction="none")


@dataclass(frozen=True, kw_only=True)
class Algorithm:
    """Supervised fine-tuning on the answers' tokens; the base of every algorithm."""

    trains: ClassVar[bool] = True  # whether there is anything to train, and so a mix and an adapter

    def fit(
        self,
        base: BaseModel,
        examples: Sequence[Example],
        *,
        lora: Lora,
        train: Train,
        device: str,
        seed: int,
        folder: Path,
        place: Path,
        record: dict[str, Any],
        on_step: Callable[[int, float], object] = lambda step, loss: None,
    ) -> Adapter:
        """Train an adapter on `examples` and write it to `folder` as PEFT does.

        `record` is everything that determines the result. `place` is the folder of its checkpoint: one that is there
        is gone on with. `on_step(step, loss)` is called after each step, also for those that a checkpoint brought.
        Raises TrainingError for a loss that is not finite and for want of memory.
        """
        import torch
        from transformers import AutoTokenizer

        start = time.perf_counter()
        tokenizer = AutoTokenizer.from_pretrained(base.weights)
        encoded, left_out = encode(examples, tokenizer, train.max_length)
        if left_out:
            say(f"{left_out} of {len(examples)} pairs are longer than train.max_length={train.max_length} and left out")
        plan = schedule(encoded, train.batch_size, train.steps * train.grad_accum, seed)
        where = pick_device(device)
        try:
            trainer = _trainer(base, lora, train, where, seed)
            losses = _resume(trainer, place)
            for step, loss in enumerate(losses):
                on_step(step, loss)
            pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
            with deferred() as interrupted:
                for step in range(len(losses), train.steps):
                    rows = plan[step * train.grad_accum : (step + 1) * train.grad_accum]
                    batches = [collate([encoded[i] for i in indices], pad, where) for indices in rows]
                    losses.append(_step(self, trainer, batches, step, seed, place))
                    on_step(step, losses[-1])
                    if interrupted() or (step + 1) % train.checkpoint_every == 0 or step + 1 == train.steps:
                        _save(trainer, place, losses)
                    if interrupted():
                        raise KeyboardInterrupt
        except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
            if isinstance(error, RuntimeError) and "memory" not in str(error).lower():
                raise
            raise TrainingError(
                "out of memory. Lower train.batch_size (and raise train.grad_accum), train.max_length or "
                f"lora.r, or set train.gradient_checkpointing=true ({error})"
            ) from error
        digest = _write(trainer.model, base, folder, record)
        trainable = sum(p.numel() for p in trainer.parameters.values())
        tokens = sum(len(encoded[i].ids) for indices in plan for i in indices)
        return Adapter(folder, digest, base.name, tuple(losses), time.perf_counter() - start, trainable, tokens)

    def check_machine(self, train: Train, device: str) -> None:
        """Raises ConfigError for what this machine cannot do, before anything is fetched."""
        check_machine(train, device)

    def forget(self, place: Path) -> None:
        """Remove the checkpoint of a run that has come to its end."""
        _checkpoint.drop(place)

    def loss(self, trainer: Trainer, batch: Batch) -> Any:
        """Summed loss of a batch; the loop divides by the step's number of answer tokens."""
        return trainer.nll(batch).sum()

    def gradient(self, trainer: Trainer, batches: Sequence[Batch]) -> float:
        """Set the parameters' gradients for one step; returns the step's mean loss a token."""
        tokens = sum(len(b.targets) for b in batches)
        total = 0.0
        for batch in batches:
            loss = self.loss(trainer, batch) / tokens
            loss.backward()
            total += float(loss.detach())
        return total


def _trainer(base: BaseModel, lora: Lora, train: Train, device: str, seed: int) -> Trainer:
    import torch

    model = load_base(base, train, device)
    torch.manual_seed(seed)  # the adapter's first values
    try:
        model = lora.wrap(model)
    except ValueError as error:
        raise TrainingError(f"lora.target_modules: {error}") from error
    if train.gradient_checkpointing:
        model.enable_input_require_grads()
        model.gradient_checkpointing_enable({"use_reentrant": False})
    model.train()
    parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
    optimizer = torch.optim.AdamW(parameters.values(), lr=train.lr, weight_decay=train.weight_decay)
    return Trainer(model, optimizer, parameters, train, device)


def _step(algorithm: Algorithm, trainer: Trainer, batches: Sequence[Batch], step: int, seed: int, place: Path) -> float:
    import torch

    torch.manual_seed(seed * 1_000_003 + step)  # dropout: a resumed run draws what an unbroken one draws
    trainer.step = step
    loss = algorithm.gradient(trainer, batches)
    if not math.isfinite(loss):
        raise TrainingError(
            f"the loss of step {step + 1} is {loss}. The last good checkpoint is kept in {place}. "
            "Lower train.lr, or use train.precision=fp32"
        )
    torch.nn.utils.clip_grad_norm_(trainer.parameters.values(), trainer.train.max_grad_norm)
    for group in trainer.optimizer.param_groups:
        group["lr"] = trainer.train.rate(step)
    trainer.optimizer.step()
    trainer.optimizer.zero_grad(set_to_none=True)
    return loss


def _save(trainer: Trainer, place: Path, losses: list[float]) -> None:
    parameters = {name: p.detach() for name, p in trainer.parameters.items()}
    _checkpoint.save(place, {"losses": losses, "parameters": parameters, "optimizer": trainer.optimizer.state_dict()})


def _resume(trainer: Trainer, place: Path) -> list[float]:
    import torch

    state = _checkpoint.load(place)
    if state is None:
        return []
    with torch.no_grad():
        for name, p in trainer.parameters.items():
            p.copy_(state["parameters"][name])
    trainer.optimizer.load_state_dict(state["optimizer"])
    losses: list[float] = state["losses"]
    say(f"going on after step {len(losses)} from {place}")
    return losses


def _write(model: Any, base: BaseModel, folder: Path, record: dict[str, Any]) -> str:
    from safetensors.torch import load_file

    for config in model.peft_config.values():
        config.base_model_name_or_path = base.name  # not this machine's cache folder
    model.save_pretrained(folder, save_embedding_layers=False)  # "auto" would ask the hub for the base's config
    (folder / "sleepy.json").write_text(json.dumps({"base": base.name, "base_digest": base.digest, **record}, indent=1))
    return _checkpoint.digest_of_tensors(load_file(folder / "adapter_model.safetensors"))
