"""An epoch of `naive` against TRL's SFTTrainer: the same pairs with their prompts, in the same batches and order, the
same LoRA, learning rate and precision, the loss on the answers alone. Needs the extra rl.

    python bench/sft.py                              32 pairs in batches of 4, Qwen2.5-Coder-0.5B
    python bench/sft.py model=smollm2-135m 16 2 3    16 pairs in batches of 2, three times

Arguments with a = are overrides of the config (`lora.r=16`, `train.precision=fp32`); the others are pairs, batch and
turns. Seconds are the clock's and the processor's from the first step to the end of the last, without loading; each
turn runs both, and the one that begins changes. Prints both mean losses and the ratio of medians.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir

from sleepy.artifacts import BaseModel
from sleepy.options import CONF
from sleepy.pairs.builtin import load_pairs, sample
from sleepy.progress import hush
from sleepy.settings import Settings, register, settings
from sleepy.train._grpo import hushed
from sleepy.train.batches import Encoded, Example, encode, schedule
from sleepy.train.device import load_base, pick_device, release_base
from sleepy.train.lora import Lora
from sleepy.train.settings import Train
from sleepy.train.sft import Sft
from sleepy.train.trainer import Trainer
from sleepy.train.training import Training

Timed = tuple[list[float], float, float]
"""Losses step by step, seconds of the clock, and of the processor."""


class Watch:
    """The clock and the processor since `start`."""

    def start(self, *nothing: Any, **more: Any) -> None:
        self.clock, self.cpu = time.perf_counter(), time.process_time()

    def stop(self, *nothing: Any, **more: Any) -> None:
        self.found = time.perf_counter() - self.clock, time.process_time() - self.cpu


def ours(base: BaseModel, examples: list[Example], lora: Lora, train: Train, seed: int) -> Timed:
    """An epoch of naive."""
    watch = Watch()

    class Watched(Sft):
        def begin(self, trainer: Trainer) -> None:
            watch.start()

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        training = Training(
            base=base, examples=examples, lora=lora, settings=train, device="auto", seed=seed,
            folder=folder / "adapter", checkpoint=folder / "checkpoint", record={}, on_step=watch.stop,
        )  # fmt: skip
        adapter = Watched().fit(training)
    release_base()
    return list(adapter.losses), *watch.found


def theirs(base: BaseModel, encoded: list[Encoded], tokenizer: Any, lora: Lora, train: Train, seed: int) -> Timed:
    """An epoch of SFTTrainer over what naive draws."""
    import torch
    from datasets import Dataset
    from transformers import PrinterCallback, TrainerCallback
    from trl import SFTConfig, SFTTrainer

    device, watch = pick_device("auto"), Watch()
    model = load_base(base, train, device)
    torch.manual_seed(seed)
    model = lora.wrap(model)
    rows = [encoded[i] for batch in schedule(encoded, train.batch_size, train.steps, seed) for i in batch]
    data = [{"input_ids": list(r.ids), "labels": [-100] * r.start + list(r.ids[r.start :])} for r in rows]

    class Timing(TrainerCallback):
        def on_step_begin(self, args: Any, state: Any, control: Any, **others: Any) -> None:
            if not state.global_step:
                watch.start()

        def on_step_end(self, args: Any, state: Any, control: Any, **others: Any) -> None:
            watch.stop()

    with tempfile.TemporaryDirectory() as folder, hushed():
        trainer = SFTTrainer(
            model=model,
            args=SFTConfig(
                output_dir=folder, num_train_epochs=1, per_device_train_batch_size=train.batch_size,
                gradient_accumulation_steps=1, learning_rate=train.lr, lr_scheduler_type="constant",
                weight_decay=train.weight_decay, max_grad_norm=train.max_grad_norm, max_length=None,
                train_sampling_strategy="sequential", gradient_checkpointing=train.gradient_checkpointing,
                bf16=False, use_cpu=device == "cpu", dataloader_pin_memory=False,
                dataset_kwargs={"skip_prepare_dataset": True}, remove_unused_columns=False,
                logging_steps=1, save_strategy="no", report_to="none", disable_tqdm=True,
            ),
            train_dataset=Dataset.from_list(data),
            processing_class=tokenizer,
            callbacks=[Timing()],
        )  # fmt: skip
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    losses = [row["loss"] for row in trainer.state.log_history if "loss" in row]
    return losses, *watch.found


def prepared(overrides: list[str], pairs: int, batch: int) -> tuple[Settings, BaseModel, list[Example], Train]:
    """The options, the model, training pairs as naive sees them, and the settings of an epoch over them."""
    register()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        opts = settings(compose("config", overrides))
    cache = Path(opts.cache).expanduser()
    base, checker, repair = opts.model.fetch(cache), opts.sandbox.open(cache), opts.repair
    tasks = sample(load_pairs(), pairs // batch * batch, opts.seed).tasks
    broken = checker.check_all([t.broken_job for t in tasks])
    examples = [Example(repair.first(t, b), repair.answer(t.fix), t) for t, b in zip(tasks, broken, strict=True)]
    steps = len(examples) // batch
    asked = opts.train
    train = Train(
        steps=steps, batch_size=batch, lr=asked.lr, warmup=0.0, decay="constant", weight_decay=asked.weight_decay,
        max_grad_norm=asked.max_grad_norm, max_length=1 << 20, precision=asked.precision, attention=asked.attention,
        gradient_checkpointing=asked.gradient_checkpointing, checkpoint_every=steps,
    )  # fmt: skip
    return opts, base, examples, train


def main(*arguments: str) -> None:
    """Measure and print."""
    import torch
    from transformers import AutoTokenizer

    hush()
    numbers = [int(a) for a in arguments if "=" not in a]
    pairs, batch, turns = [*numbers, *(32, 4, 1)[len(numbers) :]]
    opts, base, examples, train = prepared([a for a in arguments if "=" in a], pairs, batch)
    tokenizer = AutoTokenizer.from_pretrained(base.weights)
    encoded, _ = encode(examples, tokenizer, train.max_length)
    lora, seed = opts.lora, opts.seed
    tokens, answers = sum(len(e.ids) for e in encoded), sum(len(e.ids) - e.start for e in encoded)
    print(f"{base.name}, {len(encoded)} pairs in batches of {batch}, {torch.get_num_threads()} threads")
    print(f"  {tokens} tokens, {answers} of them answers", flush=True)
    found: dict[str, list[Timed]] = {"naive": [], "SFTTrainer": []}
    for turn in range(turns):
        for name in list(found)[:: 1 if turn % 2 else -1]:
            run = (
                ours(base, examples, lora, train, seed)
                if name == "naive"
                else theirs(base, encoded, tokenizer, lora, train, seed)
            )
            found[name].append(run)
            print(
                f"  {name:10} {run[1]:.1f} s, processor {run[2]:.1f} s, mean loss {statistics.mean(run[0]):.5f}",
                flush=True,
            )
    mine, other = found["naive"], found["SFTTrainer"]
    apart = [abs(a - b) for a, b in zip(mine[0][0], other[0][0], strict=True)]
    means = [statistics.mean(runs[0][0]) for runs in (mine, other)]
    print(f"  mean losses differ by {abs(means[0] - means[1]):.5f}, a step's by at most {max(apart):.5f}")
    clock, cpu = (statistics.median(a[i] for a in mine) / statistics.median(b[i] for b in other) for i in (1, 2))
    print(f"  naive takes {clock:.2f} of SFTTrainer's time, processor {cpu:.2f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
