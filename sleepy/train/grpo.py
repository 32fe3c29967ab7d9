"""Reinforcement learning from the compiler: GRPO (Shao et al. 2024, arXiv 2402.03300) through TRL's GRPOTrainer, with
the sandbox's verdict as reward. That it forgets less than fine-tuning is arXiv 2508.16546's claim."""

from __future__ import annotations

import importlib.util
import math
import sys
import time
from dataclasses import dataclass, replace
from typing import ClassVar

from sleepy.artifacts import Adapter, Task
from sleepy.errors import ConfigError, DataError, TrainingError
from sleepy.files import write_jsonl
from sleepy.options import ranged
from sleepy.progress import say
from sleepy.train._grpo import Rewards, Rollout, hushed, train
from sleepy.train._interrupt import deferred
from sleepy.train.algorithm import Algorithm, explain_out_of_memory, trained
from sleepy.train.batches import Encoded, encode, schedule
from sleepy.train.settings import Train
from sleepy.train.trainer import Trainer
from sleepy.train.training import REWARDS, Training


@dataclass(frozen=True, kw_only=True)
class Grpo(Algorithm):
    """For each prompt `group` answers are drawn and rewarded. Tokens of answers above their group's mean become more
    likely, those of answers below it less likely. The model does not see the fixes of the pairs. The reward of an
    answer is

        compiles * C + passes * P + edit * C * S

    where C is 1 for a program that compiles and P for one whose hidden tests pass (else 0), and S is the similarity
    to the broken program (0 to 1: 2 M / T, M the tokens of both in the same order, T all tokens). S counts only with C:
    a copy of the broken program earns nothing.

    group: answers drawn per prompt (at least 2). A forward pass holds train.batch_size answers, and a step
        train.batch_size * train.grad_accum of them; train.grad_accum is raised until that is a multiple of group.
    max_new_tokens: length of the longest answer in tokens. Pairs whose fix is longer are left out (at least 1).
    temperature: the sampling temperature (above 0).
    beta: weight of the KL divergence from the model as it was before. 0 saves a forward pass (at least 0).
    compiles, passes, edit: the weights of the reward. Not all of them may be 0 (at least 0).
    """

    needs_programs: ClassVar[bool] = True
    packages: ClassVar[tuple[str, ...]] = (*Algorithm.packages, "trl")

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
        return ["compiles, passes and edit must not all be 0"] * none

    def check_machine(self, train: Train, device: str) -> None:
        """See Algorithm.check_machine; also what TRL cannot do with the settings of `train`."""
        if importlib.util.find_spec("trl") is None:
            raise ConfigError("algo: grpo needs the package trl (bash setup.sh rl, or pip install -e '.[rl]')")
        if train.epochs:
            raise ConfigError(
                f"train.epochs must be 0 with algo=grpo, not {train.epochs:g}: it draws algo.group answers to every "
                "prompt, so epochs do not count its steps. Set train.steps instead"
            )
        super().check_machine(train, device)

    def in_whole_groups(self, train: Train) -> Train:
        """`train` with as many forward passes a step as whole groups of answers take."""
        answers = train.batch_size * train.grad_accum
        return replace(train, grad_accum=train.grad_accum * self.group // math.gcd(answers, self.group))

    def fit(self, training: Training) -> Adapter:
        """See Algorithm.fit. The adapter's losses are TRL's; `rewards.jsonl` beside it has each step's mean reward,
        its parts and tokens. Raises DataError for an example without a task."""
        start = time.perf_counter()
        settings = self.in_whole_groups(training.settings)
        training = replace(training, settings=settings)
        self.check_machine(settings, training.device)
        if training.tools is None:
            raise TrainingError("algo=grpo needs a sandbox to judge answers, and was given none")
        if blind := [example for example in training.examples if example.task is None]:
            text = blind[0].prompt.messages[-1]["content"][:60]
            raise DataError(f"algo=grpo needs each example's task, to judge answers by; found none with {text!r}")
        lower = "train.batch_size (and raise train.grad_accum), algo.max_new_tokens or lora.r"
        with explain_out_of_memory(lower), hushed(), deferred() as interrupted:
            trainer = self.start(training)
            tasks, encoded = self._short(trainer)
            groups = settings.batch_size * settings.grad_accum // self.group
            prompts = schedule(encoded, 1, groups * settings.steps, training.seed)
            options = {
                "num_generations": self.group,
                "max_completion_length": self.max_new_tokens,
                "temperature": self.temperature,
                "beta": self.beta,
            }
            stops = sorted({stop for example in training.examples for stop in example.prompt.stop})
            rewards = Rewards(tasks, stops, training.tools, (self.compiles, self.passes, self.edit))
            rollout, order = Rollout(trainer, encoded, stops), [number for (number,) in prompts]
            losses = train(trainer, rollout, rewards, order, options, interrupted)
            if self.beta:
                trainer.model.delete_adapter("ref")
            self.write(trainer)
        figures = trainer.kept["figures"]
        write_jsonl(training.folder / REWARDS, [{"step": step, **row} for step, row in enumerate(figures, 1)])
        return trained(trainer, losses, time.perf_counter() - start, int(sum(row["tokens"] for row in figures)))

    def _short(self, trainer: Trainer) -> tuple[list[Task], list[Encoded]]:
        """The tasks of the examples that are short enough, and the examples' tokens."""
        examples, longest = trainer.training.examples, trainer.settings.max_length
        encoded, _ = encode(examples, trainer.tokenizer, sys.maxsize)
        kept = [
            (example.task, row)
            for example, row in zip(examples, encoded, strict=True)
            if example.task and len(row.ids) <= longest and len(row.ids) - row.start <= self.max_new_tokens
        ]
        limits = f"train.max_length={longest}, or their fix than algo.max_new_tokens={self.max_new_tokens}"
        if not kept:
            raise TrainingError(f"all of {len(encoded)} training pairs are longer than {limits}")
        if left_out := len(encoded) - len(kept):
            say(f"skipping {left_out} of {len(encoded)} pairs, which are longer than {limits}")
        return [task for task, _ in kept], [row for _, row in kept]
