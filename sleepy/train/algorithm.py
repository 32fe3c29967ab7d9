"""The training loop that every algorithm shares. An algorithm overrides the methods of `Algorithm` in which it differs:
what it trains on (`material`), what trains (`adapt`), what it remembers (`begin`, `after_step`, `end`), the loss
(`loss`, `gradient`) and the form of the result (`write`)."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from sleepy.artifacts import Adapter, BaseModel
from sleepy.errors import TrainingError
from sleepy.progress import say
from sleepy.tensors import digest_of_tensors
from sleepy.train import checkpoint
from sleepy.train._interrupt import deferred
from sleepy.train.batches import Batch, Example, encode, schedule
from sleepy.train.device import check_machine, keep_base, load_base, pick_device
from sleepy.train.lora import Lora
from sleepy.train.settings import Train
from sleepy.train.trainer import MEMORY, NOTHING, Past, Tools, Trainer


@dataclass(frozen=True, kw_only=True)
class Algorithm:
    """Supervised fine-tuning on the answers' tokens; the base of every algorithm."""

    trains: ClassVar[bool] = True  # whether there is anything to train, and so a mix and an adapter
    asks: ClassVar[bool] = False  # whether the engine's answers take part
    keeps_base: ClassVar[bool] = True  # whether the base model is afterwards what it was before, to the bit

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
        past: Past = NOTHING,
        tools: Tools | None = None,
        on_step: Callable[[int, float], object] = lambda step, loss: None,
    ) -> Adapter:
        """Train an adapter on `examples`, after what is `past`, and write it to `folder` as PEFT does.

        `record` is everything that determines the result. `place` is the folder of its checkpoint: one that is there
        is gone on with. `on_step(step, loss)` is called after each step, also for those that a checkpoint brought.
        Raises TrainingError for a loss that is not finite and for want of memory.
        """
        from transformers import AutoTokenizer

        start = time.perf_counter()
        examples = self.material(examples, past, tools, seed, place)
        tokenizer = AutoTokenizer.from_pretrained(base.weights)
        where = pick_device(device)
        with memory_told("train.batch_size (and raise train.grad_accum), train.max_length or lora.r"):
            model = load_base(base, train, where)
            encoded, left_out = encode(examples, tokenizer, train.max_length)
            if left_out:
                limit = f"train.max_length={train.max_length}"
                say(f"{left_out} of {len(examples)} pairs are longer than {limit} and left out")
            plan = schedule(encoded, train.batch_size, train.steps * train.grad_accum, seed)
            trainer = self._trainer(model, tokenizer, lora, train, where, seed, past)
            self.begin(trainer, past)
            losses = resume(trainer, place)
            for step, loss in enumerate(losses):
                on_step(step, loss)
            with deferred() as interrupted:
                for step in range(len(losses), train.steps):
                    rows = plan[step * train.grad_accum : (step + 1) * train.grad_accum]
                    batches = [trainer.batch([encoded[i] for i in indices]) for indices in rows]
                    losses.append(_step(self, trainer, batches, step, place))
                    on_step(step, losses[-1])
                    if interrupted() or (step + 1) % train.checkpoint_every == 0 or step + 1 == train.steps:
                        save(trainer, place, losses)
                    if interrupted():
                        raise KeyboardInterrupt
            self.write(trainer, folder, base.name)
            self.end(trainer, past, examples, folder / MEMORY)
            if self.keeps_base:
                keep_base(trainer.model.unload(), base, train, where)
        tokens = sum(len(encoded[i].ids) for indices in plan for i in indices)
        return trained(trainer, base, folder, record, losses, time.perf_counter() - start, tokens)

    def check_machine(self, train: Train, device: str) -> None:
        """Raises ConfigError for what this machine cannot do, before anything is fetched."""
        check_machine(train, device)

    def reads(self) -> list[str]:
        """Digests of the files that the options name and that the result depends on."""
        return []

    def material(
        self, examples: Sequence[Example], past: Past, tools: Tools | None, seed: int, place: Path
    ) -> Sequence[Example]:
        """What is trained on, made of the examples given. `place` is the checkpoint's folder: what took long to make
        is kept there. Without `tools` nothing can be asked of compiler and model."""
        return examples

    def adapt(self, model: Any, lora: Lora, past: Past) -> Any:
        """`model` with what trains: an adapter, which goes on from the past's where there is one."""
        wrapped = lora.wrap(model)
        if past.adapter is not None:
            from peft import load_peft_weights, set_peft_model_state_dict

            set_peft_model_state_dict(wrapped, load_peft_weights(str(past.adapter), device="cpu"))
        return wrapped

    def begin(self, trainer: Trainer, past: Past) -> None:
        """Before the first step: read what was remembered."""

    def after_step(self, trainer: Trainer) -> None:
        """After every optimiser step."""

    def end(self, trainer: Trainer, past: Past, examples: Sequence[Example], memory: Path) -> None:
        """After the last step: write to the folder `memory` what the next step of a stream should remember."""

    def write(self, trainer: Trainer, folder: Path, base: str) -> None:
        """The adapter as a PEFT folder; `base` is the base model's name."""
        for config in trainer.model.peft_config.values():
            config.base_model_name_or_path = base  # not this machine's cache folder
            config.target_modules = sorted(config.target_modules)  # a set would be written in another order every time
        # "auto" would ask the hub for the base's config
        trainer.model.save_pretrained(folder, save_embedding_layers=False)

    def together(
        self, adapters: Mapping[str, Adapter], base: BaseModel, folder: Path
    ) -> tuple[dict[str, Adapter], dict[str, float]]:
        """Several adapters, by name, as they are used later, and figures about what was done to them. What is written
        goes to `folder`, of which the folder `memory` is recorded."""
        return dict(adapters), {}

    def each_task(self, adapter: Adapter, base: BaseModel, folder: Path) -> list[Adapter]:
        """The adapters by which the tasks of a stream so far are answered, in their order, where a method keeps them
        apart; [] where one adapter answers all. `adapter` is the newest task's; what is written goes to `folder`."""
        return []

    def forget(self, place: Path) -> None:
        """Remove the checkpoint of a run that has come to its end."""
        checkpoint.drop(place)

    def _trainer(
        self, model: Any, tokenizer: Any, lora: Lora, train: Train, device: str, seed: int, past: Past
    ) -> Trainer:
        import torch

        torch.manual_seed(seed)  # the adapter's first values
        try:
            model = self.adapt(model, lora, past)
        except ValueError as error:
            raise TrainingError(f"lora.target_modules: {error}") from error
        if train.gradient_checkpointing:
            model.enable_input_require_grads()
            model.gradient_checkpointing_enable({"use_reentrant": False})
        model.train()
        parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
        optimizer = torch.optim.AdamW(parameters.values(), lr=train.lr, weight_decay=train.weight_decay)
        return Trainer(model, optimizer, parameters, train, device, seed, tokenizer)

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


@contextmanager
def memory_told(knobs: str) -> Iterator[None]:
    """Want of memory in the block becomes a TrainingError that says which `knobs` to lower."""
    import torch

    try:
        yield
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "memory" not in str(error).lower():
            raise
        raise TrainingError(
            f"out of memory. Lower {knobs}, or set train.gradient_checkpointing=true ({error})"
        ) from error


def trained(
    trainer: Trainer,
    base: BaseModel,
    folder: Path,
    record: dict[str, Any],
    losses: Sequence[float],
    seconds: float,
    tokens: int,
) -> Adapter:
    """The adapter that was written to `folder`, with its `record` beside it."""
    from safetensors.torch import load_file

    (folder / "sleepy.json").write_text(json.dumps({"base": base.name, "base_digest": base.digest, **record}))
    digest = digest_of_tensors(load_file(folder / "adapter_model.safetensors"))
    trainable = sum(p.numel() for p in trainer.parameters.values())
    return Adapter(folder, digest, base.name, tuple(losses), seconds, trainable, tokens)


def _step(algorithm: Algorithm, trainer: Trainer, batches: Sequence[Batch], step: int, place: Path) -> float:
    import torch

    torch.manual_seed(trainer.seed * 1_000_003 + step)  # dropout: a resumed run draws what an unbroken one draws
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
    algorithm.after_step(trainer)
    return loss


def save(trainer: Trainer, place: Path, losses: list[float]) -> None:
    parameters = {name: p.detach() for name, p in trainer.parameters.items()}
    optimizer = trainer.optimizer.state_dict()
    if len(losses) == trainer.train.steps:  # what has been learned needs no moments, two thirds of the file
        optimizer["state"] = {}
    state = {"losses": losses, "parameters": parameters, "optimizer": optimizer}
    checkpoint.save(place, {**state, "kept": trainer.kept})


def resume(trainer: Trainer, place: Path) -> list[float]:
    import torch

    state = checkpoint.load(place)
    if state is None:
        return []
    with torch.no_grad():
        for name, p in trainer.parameters.items():
            p.copy_(state["parameters"][name])
    trainer.optimizer.load_state_dict(state["optimizer"])
    trainer.kept = state["kept"]
    losses: list[float] = state["losses"]
    say(f"going on after step {len(losses)} from {place}")
    return losses
