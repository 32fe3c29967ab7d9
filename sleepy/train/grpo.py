"""Reinforcement learning from the compiler: GRPO (Shao et al. 2024, arXiv 2402.03300) through TRL's GRPOTrainer, with
the sandbox's verdict as reward. That it forgets less than fine-tuning is arXiv 2508.16546's claim."""

from __future__ import annotations

import importlib.util
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sleepy.artifacts import Adapter, BaseModel
from sleepy.errors import ConfigError, TrainingError
from sleepy.options import ranged
from sleepy.progress import say
from sleepy.train._grpo import Rewards, drawn, grpo_trainer, hushed, run, task_of
from sleepy.train._interrupt import deferred
from sleepy.train.algorithm import Algorithm, memory_told, resume, save, trained
from sleepy.train.batches import Example, encode
from sleepy.train.device import load_base, pick_device
from sleepy.train.lora import Lora
from sleepy.train.settings import Train
from sleepy.train.trainer import NOTHING, REWARDS, Past, Tools


@dataclass(frozen=True, kw_only=True)
class Grpo(Algorithm):
    """To each prompt `group` answers are drawn and rewarded; tokens of those above their group's mean become likelier,
    of those below less likely. The fixes of the pairs are not shown to the model. The reward of an answer is

        compiles * C + passes * P + edit * C * S

    where C is 1 for a program that compiles and P for one whose hidden tests pass (else 0), and S is the similarity
    to the broken program (0 to 1: 2 M / T, M the tokens of both in the same order, T all tokens). S counts only with C:
    a copy of the broken program earns nothing.

    group: answers to a prompt (at least 2). A forward pass holds train.batch_size answers and a step
        train.batch_size * train.grad_accum of them, which is a multiple of group: so many prompts a step.
    max_new_tokens: longest answer drawn, in tokens; pairs whose fix is longer are left out (at least 1).
    temperature: of drawing (above 0).
    beta: weight of the KL divergence from the model as it was before (at least 0; 0 spares a forward pass).
    compiles, passes, edit: the reward's weights (at least 0, not all 0).
    """

    group: int = ranged(4, at_least=2)
    max_new_tokens: int = ranged(256, at_least=1)
    temperature: float = ranged(1.0, above=0)
    beta: float = ranged(0.0, at_least=0)
    compiles: float = ranged(0.2, at_least=0)
    passes: float = ranged(1.0, at_least=0)
    edit: float = ranged(0.2, at_least=0)

    def problems(self) -> list[str]:
        """What the fields' own bounds cannot say."""
        none = not (self.compiles or self.passes or self.edit)
        return ["compiles, passes, edit: found 0 for all, expected one above 0"] * none

    def check_machine(self, train: Train, device: str) -> None:
        """See Algorithm.check_machine; also what TRL cannot do with the settings of `train`."""
        if importlib.util.find_spec("trl") is None:
            raise ConfigError("algo: grpo needs the package trl (bash setup.sh rl, or pip install -e '.[rl]')")
        if train.epochs:
            raise ConfigError(
                f"train.epochs: found {train.epochs:g}, but algo=grpo draws algo.group answers to every prompt, so "
                "that epochs do not count its steps. Set train.steps, and train.epochs=0"
            )
        if self._answers(train) % self.group:
            raise ConfigError(
                f"train.batch_size * train.grad_accum: found {self._answers(train)} answers a step, expected a "
                f"multiple of algo.group={self.group}"
            )
        super().check_machine(train, device)

    def _answers(self, train: Train) -> int:
        return train.batch_size * train.grad_accum

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
        """See Algorithm.fit. The adapter's losses are TRL's; `rewards.jsonl` beside it has each step's mean reward,
        its parts and tokens. Raises DataError for an example without a task."""
        from transformers import AutoTokenizer

        start = time.perf_counter()
        self.check_machine(train, device)
        if tools is None:
            raise TrainingError("algo=grpo needs a sandbox to judge answers, and was given none")
        for example in examples:
            task_of(example)
        tokenizer = AutoTokenizer.from_pretrained(base.weights)
        encoded, _ = encode(examples, tokenizer, sys.maxsize)
        fits = [len(e.ids) <= train.max_length and len(e.ids) - e.start <= self.max_new_tokens for e in encoded]
        limits = f"train.max_length={train.max_length}, or their fix than algo.max_new_tokens={self.max_new_tokens}"
        if not any(fits):
            raise TrainingError(f"all of {len(fits)} training pairs are longer than {limits}")
        if not all(fits):
            say(f"{fits.count(False)} of {len(fits)} pairs are longer than {limits}: left out")
        kept = [i for i, good in enumerate(fits) if good]
        a_step = self._answers(train) // self.group
        order = [kept[i] for i in drawn(len(kept), a_step * train.steps, seed)]
        config = {"max_completion_length": self.max_new_tokens, "temperature": self.temperature, "beta": self.beta}
        rewards = Rewards(examples, tools, (self.compiles, self.passes, self.edit))
        lower = "train.batch_size (and raise train.grad_accum), algo.max_new_tokens or lora.r"
        with memory_told(lower), hushed(), deferred() as interrupted:
            where = pick_device(device)
            trainer = self._trainer(load_base(base, train, where), tokenizer, lora, train, where, seed, past)
            made = grpo_trainer(trainer, encoded, rewards, self.group, config, place)
            losses = resume(trainer, place)  # after TRL copied the adapter for its KL divergence
            for step, loss in enumerate(losses):
                on_step(step, loss)

            def after_step(loss: float) -> None:
                losses.append(loss)
                on_step(len(losses) - 1, loss)
                if interrupted() or len(losses) % train.checkpoint_every == 0 or len(losses) == train.steps:
                    save(trainer, place, losses)
                if interrupted():
                    raise KeyboardInterrupt

            if len(losses) < train.steps:
                run(made, trainer, order[len(losses) * a_step :], losses, after_step)
            if self.beta:
                trainer.model.delete_adapter("ref")
            self.write(trainer, folder, base.name)
        figures = trainer.kept["figures"]
        lines = [json.dumps({"step": step, **row}) for step, row in enumerate(figures, 1)]
        (folder / REWARDS).write_text("\n".join(lines) + "\n")
        tokens = int(sum(row["tokens"] for row in figures))
        return trained(trainer, base, folder, record, losses, time.perf_counter() - start, tokens)
