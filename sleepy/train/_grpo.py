"""What lies between sleepy and TRL: rewards from the sandbox, our tokens and stop strings, our steps."""

from __future__ import annotations

import difflib
import logging
import math
import warnings
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sleepy.artifacts import Task
from sleepy.errors import TrainingError
from sleepy.models.head import contiguous_head
from sleepy.progress import say
from sleepy.rust.tokens import tokens
from sleepy.train.algorithm import resume, save_if_due
from sleepy.train.batches import Encoded
from sleepy.train.trainer import Trainer
from sleepy.train.training import Tools

FIGURES = ("reward", "compiles", "passes", "similarity")


def similarity(before: str, after: str) -> float:
    """How alike two programs are, 0 to 1: 2 M / T, with M the tokens that difflib matches in order and T the tokens of
    both."""
    one, other = ([t.text for t in tokens(program)] for program in (before, after))
    return difflib.SequenceMatcher(None, one, other, autojunk=False).ratio()


def upto_stop(text: str, stops: Sequence[str]) -> str:
    """`text` until the first stop string in it."""
    return text[: min((at for stop in stops if (at := text.find(stop)) >= 0), default=len(text))]


def cut(ids: list[int], stops: Sequence[str], decode: Callable[[list[int]], str]) -> list[int]:
    """Tokens until a stop string is complete: the rest is never seen, and nothing is to be learned from it."""

    def stopped(length: int) -> bool:
        text = decode(ids[:length])
        return any(stop in text for stop in stops)

    return ids[: bisect_left(range(len(ids)), True, key=stopped)]


@dataclass(frozen=True)
class Rewards:
    """The reward of each answer. A prompt is the number of its task; `weights` are those of what the reward is made of:
    compiles, passes (0 or 1), and similarity to the broken program (0 for what does not compile)."""

    tasks: Sequence[Task]
    stops: Sequence[str]
    tools: Tools
    weights: tuple[float, float, float]

    def __call__(
        self, prompts: list[str], completions: list[str], log_metric: Callable[[str, float], None], **others: Any
    ) -> list[float]:
        """As TRL asks for them; the means of the parts are logged. Raises SandboxError for a broken sandbox."""
        tasks = [self.tasks[int(prompt)] for prompt in prompts]
        programs = [self.tools.program(upto_stop(text, self.stops)) for text in completions]
        checks = self.tools.check([t.repaired_job(program) for t, program in zip(tasks, programs, strict=True)])
        parts = [
            (float(check.compiles), float(check.passed), check.compiles * similarity(task.broken, program))
            for check, task, program in zip(checks, tasks, programs, strict=True)
        ]
        for name, values in zip(FIGURES[1:], zip(*parts, strict=True), strict=True):
            log_metric(name, sum(values) / len(values))
        return [sum(w * p for w, p in zip(self.weights, row, strict=True)) for row in parts]


@dataclass(frozen=True)
class Rollout:
    """Draws answers to prompts in our own tokens; a prompt is the number of its example, an answer ends at a stop
    string. (TRL would tokenise text anew, and give transformers no tokenizer to find `stop_strings` with.)"""

    trainer: Trainer
    encoded: Sequence[Encoded]
    stops: Sequence[str]

    def __call__(self, prompts: list[str], theirs: Any) -> dict[str, Any]:
        """As TRL asks for it; `theirs` is its trainer. Raises TrainingError for weights that are not finite."""
        import torch

        heads = [list(row.ids[: row.start]) for row in (self.encoded[int(prompt)] for prompt in prompts)]
        width, model, decode = max(map(len, heads)), self.trainer.model, self.trainer.tokenizer.decode
        pad = theirs.generation_config.pad_token_id
        ids = torch.tensor([[pad] * (width - len(head)) + head for head in heads], device=self.trainer.device)
        mask = torch.tensor([[0] * (width - len(head)) + [1] * len(head) for head in heads], device=ids.device)
        tail = 1 + max((len(stop.encode()) for stop in self.stops), default=0)  # tokens that surely hold one

        def stopped(found: Any, scores: Any, **others: Any) -> Any:
            ends = [decode(row) for row in found[:, max(width, found.shape[1] - tail) :]]
            return torch.tensor([any(stop in end for stop in self.stops) for end in ends], device=found.device)

        try:
            with self.trainer.evaluating(), torch.no_grad():
                found = model.generate(input_ids=ids, attention_mask=mask, stopping_criteria=[stopped])
        except RuntimeError as error:
            if "probability tensor" not in str(error):  # torch, asked to draw from what is not finite
                raise
            raise TrainingError(
                f"the weights are not finite before step {self.trainer.step + 1}. Lower train.lr, or use "
                "train.precision=fp32"
            ) from error
        answers = []
        for row in found[:, width:].tolist():
            end = next((i for i, token in enumerate(row, 1) if token in theirs.eos_token_ids), len(row))
            answers.append(cut(row[:end], self.stops, decode))
        return {"prompt_ids": heads, "completion_ids": answers, "logprobs": None}


@contextmanager
def hushed() -> Iterator[None]:
    """Keep the warnings of TRL and of what it stands on out of our terminal, and tell nobody about this run."""
    from huggingface_hub import constants

    disabled, silent = logging.root.manager.disable, constants.HF_HUB_DISABLE_TELEMETRY
    constants.HF_HUB_DISABLE_TELEMETRY = True
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        constants.HF_HUB_DISABLE_TELEMETRY = silent
        logging.disable(disabled)


def train(
    trainer: Trainer,
    rollout: Rollout,
    rewards: Rewards,
    prompts: Sequence[int],
    options: Mapping[str, Any],
    interrupted: Callable[[], bool],
) -> list[float]:
    """Train with TRL's GRPOTrainer over the model, the optimizer and the settings of `trainer`; it writes nothing and
    reports to nobody. `prompts` are those of all steps, by the numbers of their examples; `options` are fields of
    GRPOConfig. A checkpoint is resumed, and written as in our own loop (of TRL's own a kill may leave half a folder).
    Returns the losses; raises TrainingError for one that is not finite."""
    from datasets import Dataset
    from transformers import PrinterCallback, TrainerCallback
    from trl import GRPOConfig, GRPOTrainer

    settings, training = trainer.settings, trainer.training
    data = Dataset.from_dict({"prompt": [str(number) for number in prompts]})
    figures: list[dict[str, float]]

    class Steps(TrainerCallback):
        """Our rate and our random numbers before a step, our record after it."""

        tokens = 0.0

        def on_step_begin(self, args: Any, state: Any, control: Any, **others: Any) -> None:
            trainer.begin_step(len(losses))

        def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float], **others: Any) -> None:
            if "loss" not in logs:  # the summary after the last step
                return
            if not all(math.isfinite(logs[name]) for name in ("loss", "grad_norm")):
                raise TrainingError(
                    f"loss and gradient of step {trainer.step + 1} are {logs['loss']} and {logs['grad_norm']}. The "
                    f"last good checkpoint is kept in {args.output_dir}. Lower train.lr, or use train.precision=fp32"
                )
            row = {name: logs[name] for name in FIGURES}
            figures.append({**row, "tokens": logs["num_tokens"] - self.tokens})
            self.tokens = logs["num_tokens"]
            say(f"step {trainer.step + 1}: " + ", ".join(f"{name} {value:.3f}" for name, value in row.items()))
            losses.append(logs["loss"])
            training.on_step(trainer.step, losses[-1])
            save_if_due(trainer, losses, interrupted())

    contiguous_head(trainer.model)
    values = {name: p.data for name, p in trainer.parameters.items()}
    theirs = GRPOTrainer(
        model=trainer.model,
        reward_funcs=rewards,
        args=GRPOConfig(
            output_dir=str(training.checkpoint),
            loss_type="grpo",  # each answer's mean over its tokens, as in the paper; TRL's own default is DAPO's
            per_device_train_batch_size=settings.batch_size,
            gradient_accumulation_steps=settings.grad_accum,
            max_grad_norm=settings.max_grad_norm,
            gradient_checkpointing=settings.gradient_checkpointing,
            bf16=False,  # no autocast: the frozen weights are in the precision asked for
            use_cpu=trainer.device == "cpu",
            generation_kwargs={"use_cache": True},
            shuffle_dataset=False,
            logging_steps=1,
            logging_nan_inf_filter=False,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            **options,
        ),
        train_dataset=data,
        processing_class=trainer.tokenizer,
        callbacks=[Steps()],
        optimizers=(trainer.optimizer, None),
        rollout_func=rollout,
    )
    theirs.remove_callback(PrinterCallback)
    for name, p in trainer.parameters.items():
        p.data = values[name]  # on a model in four bits TRL rounds them to bf16
    trainer.model.generation_config = theirs.generation_config  # the model's own would fill in its top_p and the like
    losses = resume(trainer)  # after TRL copied the adapter for its KL divergence
    figures = trainer.kept.setdefault("figures", [])
    if left := settings.steps - len(losses):
        theirs.train_dataset = data.select(range(len(data) * len(losses) // settings.steps, len(data)))
        theirs.args.max_steps = left
        theirs.train()
    return losses
