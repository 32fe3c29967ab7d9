"""What lies between sleepy and TRL: rewards from the sandbox, prompts as tokens, steps as our loop counts them."""

from __future__ import annotations

import difflib
import logging
import math
import random
import re
import warnings
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sleepy.errors import DataError, TrainingError
from sleepy.models.head import contiguous_head
from sleepy.progress import say
from sleepy.train.batches import Encoded, Example
from sleepy.train.trainer import Tools, Trainer

FIGURES = ("reward", "compiles", "passes", "similarity")


def similarity(before: str, after: str) -> float:
    """How alike two programs are, 0 to 1: 2 M / T, with M the tokens that difflib matches in order and T the tokens of
    both. White space does not count."""
    one, other = (re.findall(r"\w+|[^\w\s]", program) for program in (before, after))
    return difflib.SequenceMatcher(None, one, other, autojunk=False).ratio()


def upto_stop(text: str, stops: Sequence[str]) -> str:
    """`text` until the first stop string in it."""
    return text[: min((at for stop in stops if (at := text.find(stop)) >= 0), default=len(text))]


def cut(ids: list[int], stops: Sequence[str], decode: Callable[[list[int]], str]) -> list[int]:
    """Tokens until a stop string is complete: what comes after is never seen, and nothing is to be learned from it."""

    def stopped(length: int) -> bool:
        text = decode(ids[:length])
        return any(stop in text for stop in stops)

    return ids[: bisect_left(range(len(ids)), True, key=stopped)]


@dataclass(frozen=True)
class Rewards:
    """The reward that TRL asks for, and what it is made of. `weights` are those of compiles, passes and similarity;
    a prompt is the number of its example."""

    examples: Sequence[Example]
    tools: Tools
    weights: tuple[float, float, float]

    def __call__(
        self, prompts: list[str], completions: list[str], log_metric: Callable[[str, float], None], **others: Any
    ) -> list[float]:
        """A reward for each completion; the means of its parts are logged."""
        parts = self.parts([self.examples[int(prompt)] for prompt in prompts], completions)
        for name, values in zip(FIGURES[1:], zip(*parts, strict=True), strict=True):
            log_metric(name, sum(values) / len(values))
        return [sum(w * p for w, p in zip(self.weights, row, strict=True)) for row in parts]

    @property
    def __name__(self) -> str:
        return "verdict"

    def parts(self, examples: Sequence[Example], completions: Sequence[str]) -> list[tuple[float, float, float]]:
        """Compiles, passes (0 or 1), and similarity to the broken program (0 for what does not compile). Raises
        DataError for an example without a task, SandboxError for a broken sandbox."""
        programs, jobs, tasks = [], [], []
        for example, completion in zip(examples, completions, strict=True):
            task = task_of(example)
            programs.append(self.tools.program(upto_stop(completion, example.prompt.stop)))
            jobs.append(task.repaired_job(programs[-1]))
            tasks.append(task)
        return [
            (float(check.compiles), float(check.passed), check.compiles * similarity(task.broken, program))
            for check, task, program in zip(self.tools.check(jobs), tasks, programs, strict=True)
        ]


def task_of(example: Example) -> Any:
    """The example's task. Raises DataError when it has none."""
    if example.task is None:
        text = example.prompt.messages[-1]["content"][:60]
        raise DataError(f"algo=grpo needs each example's task, to judge answers by; found none with {text!r}")
    return example.task


def drawn(examples: int, total: int, seed: int) -> list[int]:
    """`total` of `examples` indices, epoch after epoch, each shuffled anew: more of them do not change the first."""
    order: list[int] = []
    for epoch in range(math.ceil(total / examples)):
        indices = list(range(examples))
        random.Random(f"{seed} {epoch}").shuffle(indices)
        order += indices
    return order[:total]


def numbered(prompts: Sequence[int]) -> Any:
    """What TRL reads: each prompt is the number of its example."""
    from datasets import Dataset

    return Dataset.from_list([{"prompt": str(number)} for number in prompts])


@contextmanager
def hushed() -> Iterator[None]:
    """Log lines and deprecations of TRL and what it stands on kept out of our terminal; errors are shown."""
    names = ("trl", "transformers", "accelerate", "bitsandbytes")
    before = {name: logging.getLogger(name).level for name in names}
    for name in names:
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            yield
    finally:
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)


def grpo_trainer(
    trainer: Trainer, encoded: Sequence[Encoded], rewards: Rewards, group: int, config: dict[str, Any], place: Path
) -> Any:
    """TRL's GRPOTrainer over the model, the optimizer and the settings of `trainer`, without data and callbacks yet.
    It reports to nobody and writes nothing. `config` are fields of GRPOConfig."""
    import torch
    from transformers import PrinterCallback, StoppingCriteriaList
    from trl import GRPOConfig, GRPOTrainer

    tokenizer, train = trainer.tokenizer, trainer.train
    stops = sorted({stop for example in rewards.examples for stop in example.prompt.stop})
    tail = 1 + max((len(stop.encode()) for stop in stops), default=0)  # tokens that surely hold one

    class Quiet(GRPOTrainer):
        """Prompts are our own tokens, answers end at a stop string."""

        def _send_telemetry(self) -> None:
            """Nobody is told."""

        def _tokenize_prompts(self, prompts: list[str]) -> tuple[list[list[int]], None, dict[str, Any]]:
            rows = [encoded[int(prompt)] for prompt in prompts]
            return [list(row.ids[: row.start]) for row in rows], None, {}

        def _generate_single_turn(self, *args: Any, **options: Any) -> tuple[list[list[int]], Any]:
            answers, logprobs = super()._generate_single_turn(*args, **options)
            return [cut(ids, stops, tokenizer.decode) for ids in answers], logprobs

    plain = trainer.model.generate

    def generate(**options: Any) -> Any:
        """Ends at the stop strings. transformers' own `stop_strings` goes through the whole vocabulary every time."""
        start = options["input_ids"].shape[1]

        def stopped(ids: Any, scores: Any, **others: Any) -> Any:
            tails = tokenizer.batch_decode(ids[:, max(start, ids.shape[1] - tail) :])
            return torch.tensor([any(stop in text for stop in stops) for text in tails], device=ids.device)

        return plain(**options, stopping_criteria=StoppingCriteriaList([stopped]))

    trainer.model.generate = generate
    contiguous_head(trainer.model)
    arguments = GRPOConfig(
        output_dir=str(place),
        num_generations=group,
        loss_type="grpo",  # each answer's mean over its tokens, as in the paper; TRL's own default is DAPO's
        per_device_train_batch_size=train.batch_size,
        gradient_accumulation_steps=train.grad_accum,
        max_grad_norm=train.max_grad_norm,
        gradient_checkpointing=train.gradient_checkpointing,
        gradient_checkpointing_kwargs={"use_reentrant": False},
        lr_scheduler_type="constant",  # the rate is set at every step
        learning_rate=train.lr,
        bf16=False,  # no autocast: the frozen weights are in the precision asked for
        use_cpu=trainer.device == "cpu",
        generation_kwargs={"use_cache": True},
        shuffle_dataset=False,
        dataloader_pin_memory=trainer.device == "cuda",
        logging_steps=1,
        logging_nan_inf_filter=False,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        **config,
    )
    values = {name: p.data for name, p in trainer.parameters.items()}
    made = Quiet(
        model=trainer.model,
        reward_funcs=rewards,
        args=arguments,
        train_dataset=numbered([0]),
        processing_class=tokenizer,
        optimizers=(trainer.optimizer, None),
    )
    for name, p in trainer.parameters.items():
        p.data = values[name]  # on a model in four bits TRL rounds them to bf16
    made.remove_callback(PrinterCallback)
    return made


def run(
    made: Any, trainer: Trainer, prompts: Sequence[int], losses: list[float], after_step: Callable[[float], None]
) -> None:
    """Train the steps that `losses` lacks; `prompts` are those of these steps. `after_step` gets each loss. Raises
    TrainingError for a loss that is not finite."""
    import torch
    from transformers import TrainerCallback

    train, done = trainer.train, len(losses)
    figures: list[dict[str, float]] = trainer.kept.setdefault("figures", [])

    class Steps(TrainerCallback):
        """Our rate and our random numbers before a step, our record after it."""

        tokens = 0.0

        def on_step_begin(self, args: Any, state: Any, control: Any, **others: Any) -> None:
            trainer.step = done + state.global_step
            torch.manual_seed(trainer.seed * 1_000_003 + trainer.step)  # a resumed run draws what an unbroken one draws
            for group in trainer.optimizer.param_groups:
                group["lr"] = train.rate(trainer.step)

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
            after_step(logs["loss"])

    made.train_dataset = numbered(prompts)
    made.args.max_steps = train.steps - done
    made.add_callback(Steps)
    try:
        made.train()
    except RuntimeError as error:
        if "probability tensor" not in str(error):  # torch, asked to draw from what is not finite
            raise
        raise TrainingError(
            f"the weights are not finite before step {trainer.step + 1}. Lower train.lr, or use train.precision=fp32"
        ) from error
