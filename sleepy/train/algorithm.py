"""The training loop that every algorithm shares. An algorithm overrides the methods of `Algorithm` in which it differs:
what it trains on (`material`), what trains (`adapt`), what it remembers (`begin`, `after_step`, `end`), the loss
(`loss`, `gradient`) and the form of the result (`write`)."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from sleepy.adapters.folder import seal
from sleepy.artifacts import Adapter, BaseModel, Task
from sleepy.errors import TrainingError
from sleepy.files import whole
from sleepy.pairs.material import Chat
from sleepy.progress import say
from sleepy.train import checkpoint
from sleepy.train._interrupt import deferred
from sleepy.train.batches import Batch, Example, encode, schedule
from sleepy.train.device import check_machine, keep_base, load_base, pick_device
from sleepy.train.settings import Train
from sleepy.train.trainer import Trainer
from sleepy.train.training import Training


@dataclass(frozen=True, kw_only=True)
class Algorithm:
    """Supervised fine-tuning on the answers' tokens; the base of every algorithm."""

    trains: ClassVar[bool] = True  # whether there is anything to train, and so a mix and an adapter
    asks: ClassVar[bool] = False  # whether the engine's answers take part
    needs_programs: ClassVar[bool] = False  # whether it asks for a pair's own programs, which chats have not
    needs_past: ClassVar[bool] = False  # whether without a past it is plain fine-tuning
    keeps_base: ClassVar[bool] = True  # whether the base model is afterwards what it was before, to the bit
    mixed_precision: ClassVar[bool] = True  # whether bf16 is exact enough for products with what trains
    packages: ClassVar[tuple[str, ...]] = ("torch", "transformers", "peft")  # whose versions the result depends on

    def fit(self, training: Training) -> Adapter:
        """Train an adapter on the examples, after what is past, and write it to `training.folder`. Raises TrainingError
        for a loss that is not finite and for want of memory."""
        start = time.perf_counter()
        training = replace(training, examples=self.material(training))
        settings = training.settings
        with explain_out_of_memory("train.batch_size (and raise train.grad_accum), train.max_length or lora.r"):
            trainer = self.start(training)
            encoded, left_out = encode(training.examples, trainer.tokenizer, settings.max_length)
            if left_out:
                limit = f"train.max_length={settings.max_length}"
                say(f"skipping {left_out} of {len(training.examples)} pairs, which are longer than {limit}")
            plan = schedule(encoded, settings.batch_size, settings.steps * settings.grad_accum, training.seed)
            trainer.state = self.begin(trainer)
            losses = resume(trainer)
            with deferred() as interrupted:
                for step in range(len(losses), settings.steps):
                    rows = plan[step * settings.grad_accum : (step + 1) * settings.grad_accum]
                    batches = [trainer.batch([encoded[i] for i in indices]) for indices in rows]
                    losses.append(self._step(trainer, batches, step))
                    training.on_step(step, losses[-1])
                    save_if_due(trainer, losses, interrupted())
            self.write(trainer)
            self.end(trainer)
            if self.keeps_base:
                keep_base(trainer.model.unload(), training.base, settings, trainer.device)
        tokens = sum(len(encoded[i].ids) for indices in plan for i in indices)
        return trained(trainer, losses, time.perf_counter() - start, tokens)

    def start(self, training: Training) -> Trainer:
        """The base model with what trains on it, before the first step. Raises TrainingError for layers that are not
        there."""
        import torch
        from transformers import AutoTokenizer

        settings, device = training.settings, pick_device(training.device)
        tokenizer = AutoTokenizer.from_pretrained(training.base.weights)
        model = load_base(training.base, settings, device)
        torch.manual_seed(training.seed)  # the adapter's first values
        try:
            model, state = self.adapt(model, training)
        except ValueError as error:
            raise TrainingError(f"lora.target_modules: {error}") from error
        if settings.gradient_checkpointing:
            model.enable_input_require_grads()
            model.gradient_checkpointing_enable({"use_reentrant": False})
        model.train()
        parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
        optimizer = torch.optim.AdamW(parameters.values(), lr=settings.lr, weight_decay=settings.weight_decay)
        return Trainer(training, model, tokenizer, optimizer, parameters, device, state, self.mixed_precision)

    def check_machine(self, train: Train, device: str) -> None:
        """Raises ConfigError for what this machine cannot do, before anything is fetched."""
        check_machine(train, device)

    @property
    def splits(self) -> bool:
        """Whether the mix of a single run is several tasks to it: families or patterns, by which `each_task` names
        them."""
        return False

    def planned(self, train: Train, mix: Sequence[Task | Chat], *, alone: bool) -> Train:
        """`train` with its steps, for a training on `mix`; `alone`: see Training. Raises DataError for a mix that the
        method cannot learn from."""
        return train.on(len(mix))

    def reads(self) -> list[str]:
        """Digests of the files that the options name and that the result depends on."""
        return []

    def material(self, training: Training) -> Sequence[Example]:
        """What is trained on, made of the examples given. What took long to make is kept in the checkpoint's folder."""
        return training.examples

    def adapt(self, model: Any, training: Training) -> tuple[Any, Any]:
        """`model` with what trains, an adapter that continues the past's if there is one; and what was read of the past
        for later (`trainer.state`)."""
        wrapped = training.lora.wrap(model)
        if training.past.adapter is not None:
            from peft import load_peft_weights, set_peft_model_state_dict

            set_peft_model_state_dict(wrapped, load_peft_weights(str(training.past.adapter), device="cpu"))
        return wrapped, None

    def begin(self, trainer: Trainer) -> Any:
        """Before the first step, and before a checkpoint is read: returns what the methods below should find in
        `trainer.state`."""
        return trainer.state

    def after_step(self, trainer: Trainer) -> None:
        """After every optimiser step."""

    def write(self, trainer: Trainer) -> None:
        """Write the adapter as a PEFT folder."""
        for config in trainer.model.peft_config.values():
            config.base_model_name_or_path = trainer.training.base.name  # not this machine's cache folder
            config.target_modules = sorted(config.target_modules)  # a set would be written in another order every time
        # "auto" would ask the hub for the base's config
        size = sum(p.nbytes for p in trainer.parameters.values())
        with whole(trainer.training.folder, size) as partial:
            trainer.model.save_pretrained(partial, save_embedding_layers=False)

    def end(self, trainer: Trainer) -> None:
        """After `write`: write to the folder `training.memory` what the next step of a stream should remember."""

    def together(
        self, adapters: Mapping[str, Adapter], base: BaseModel, folder: Path
    ) -> tuple[dict[str, Adapter], dict[str, float]]:
        """Several adapters, by name, as they are used later, and figures about what was done to them. What is written
        goes to `folder`, of which the folder `memory` is recorded."""
        return dict(adapters), {}

    def each_task(self, adapter: Adapter, base: BaseModel, folder: Path) -> dict[str, Adapter]:
        """The adapters by which the tasks so far are answered, by name and in their order, where a method keeps them
        apart; {} where one adapter answers all. `adapter` is what `fit` gave last; what is written goes to `folder`."""
        return {}

    def forget(self, folder: Path) -> None:
        """Remove the checkpoint, in `folder`, of a run that has come to its end."""
        checkpoint.drop(folder)

    def loss(self, trainer: Trainer, batch: Batch) -> Any:
        """Summed loss of a batch; the loop divides by the step's number of answer tokens."""
        return trainer.nll(batch).sum()

    def gradient(self, trainer: Trainer, batches: Sequence[Batch]) -> float:
        """Set the parameters' gradients for one step; returns the step's mean loss per token."""
        tokens = sum(len(b.targets) for b in batches)
        total = 0.0
        for batch in batches:
            loss = self.loss(trainer, batch) / tokens
            loss.backward()
            total += float(loss.detach())
        return total

    def _step(self, trainer: Trainer, batches: Sequence[Batch], step: int) -> float:
        import torch

        trainer.begin_step(step)
        loss = self.gradient(trainer, batches)
        if not math.isfinite(loss):
            raise TrainingError(
                f"the loss of step {step + 1} is {loss}. The last good checkpoint is kept in "
                f"{trainer.training.checkpoint}. Lower train.lr, or use train.precision=fp32"
            )
        torch.nn.utils.clip_grad_norm_(trainer.parameters.values(), trainer.settings.max_grad_norm)
        trainer.optimizer.step()
        trainer.optimizer.zero_grad(set_to_none=True)
        self.after_step(trainer)
        return loss


@contextmanager
def explain_out_of_memory(options: str) -> Iterator[None]:
    """A lack of memory in the block becomes a TrainingError that says which `options` to lower."""
    import torch

    try:
        yield
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "memory" not in str(error).lower():
            raise
        raise TrainingError(
            f"out of memory. Lower {options}, or set train.gradient_checkpointing=true ({error})"
        ) from error


def trained(trainer: Trainer, losses: Sequence[float], seconds: float, tokens: int) -> Adapter:
    """The adapter that was written to the training's folder, with the training's record beside it."""
    training = trainer.training
    digest = seal(training.folder, training.base, training.record)
    return Adapter(
        training.folder, digest, training.base.name, tuple(losses), seconds, trainer.trainable, tokens, trainer.resumed
    )


def save_if_due(trainer: Trainer, losses: list[float], interrupted: bool) -> None:
    """Write a checkpoint after as many steps as there are `losses`, if it is time. Raises KeyboardInterrupt after it
    for a run that is interrupted."""
    done, settings = len(losses), trainer.settings
    if interrupted or done % settings.checkpoint_every == 0 or done == settings.steps:
        parameters = {name: p.detach() for name, p in trainer.parameters.items()}
        optimizer = trainer.optimizer.state_dict()
        if done == settings.steps:  # what has been learned needs no moments, two thirds of the file
            optimizer["state"] = {}
        state = {"losses": losses, "parameters": parameters, "optimizer": optimizer, "kept": trainer.kept}
        checkpoint.save(trainer.training.checkpoint, state)
        progress = checkpoint.Progress(done, settings.steps, trainer.training.record)
        checkpoint.note(trainer.training.checkpoint, progress)
    if interrupted:
        raise KeyboardInterrupt


def resume(trainer: Trainer) -> list[float]:
    """Take over the checkpoint, if there is one: returns the losses of the steps that are done."""
    import torch

    training = trainer.training
    state = checkpoint.load(training.checkpoint)
    if state is None:
        return []
    with torch.no_grad():
        for name, p in trainer.parameters.items():
            p.copy_(state["parameters"][name])
    trainer.optimizer.load_state_dict(state["optimizer"])
    trainer.kept = state["kept"]
    losses: list[float] = state["losses"]
    trainer.resumed = len(losses)
    say(f"Resuming after step {len(losses)} (checkpoint {training.checkpoint})")
    for step, loss in enumerate(losses):
        training.on_step(step, loss)
    return losses
