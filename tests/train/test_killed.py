"""Every algorithm, killed for good in the second task of a stream, ends with the adapter of an unbroken run."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from sleepy.artifacts import BaseModel, Completion, Prompt, Task
from sleepy.repair.single_shot import SingleShot
from sleepy.sandbox.bwrap import Bwrap
from sleepy.train.algorithm import Algorithm
from sleepy.train.batches import Example
from sleepy.train.ewc import Ewc
from sleepy.train.grpo import Grpo
from sleepy.train.lora import Lora
from sleepy.train.naive import Naive
from sleepy.train.olora import OLora
from sleepy.train.osf import Osf
from sleepy.train.sam import Sam
from sleepy.train.settings import Train
from sleepy.train.share import Share
from sleepy.train.ssr import Ssr
from sleepy.train.sure import Sure
from sleepy.train.trainer import Past, Tools

REPAIR = SingleShot()
ALGORITHMS: dict[str, Algorithm] = {
    "naive": Naive(),  # targeted and replay choose other pairs, and train alike
    "ewc": Ewc(fisher_samples=4),
    "olora": OLora(),
    "sure": Sure(buffer=2, ema=0.5),
    "ssr": Ssr(asked=3, kept=1),
    "sam": Sam(),
    "osf": Osf(rank=2),
    "share": Share(variance=0.9),
    "coef_only": Share(variance=0.9, phi=0),
    "grpo": Grpo(max_new_tokens=4),
}


def program(name: str) -> str:
    """A program that uses a value after its move."""
    return f"pub fn {name}() -> usize {{\n    let all = String::new();\n    drop(all);\n    all.len()\n}}\n"


def pair(name: str) -> Task:
    """Such a program with its repair."""
    return Task(
        id=f"pairs/{name}", family="borrow_checker", pattern="use_after_move", level=1, code="E0382", edition="2021",
        description=f"Counts what {name} has.", broken=program(name), fix=fixed(program(name)),
        tests=("assert!(true);",),
    )  # fmt: skip


def fixed(text: str) -> str:
    """The repair of a `program`."""
    return text.replace("drop(all)", "drop(all.clone())")


TASKS = [[pair(name) for name in names] for names in (("apple", "banana", "cherry"), ("fig", "kiwi", "mango"))]
WRITTEN = [program(name) for name in ("plum", "quince", "rowan")]


def stream(base: BaseModel, folder: Path, algorithm: Algorithm, kill: bool) -> dict[str, object]:
    """Two tasks, one after the other, each with a checkpoint a step; the last adapter and what it remembers, as
    digests. `kill` ends the process for good after the second task's second step, before its checkpoint."""
    checker = Bwrap().open(folder.parent / "verdicts")

    def examples(tasks: Sequence[Task]) -> list[Example]:
        broken = checker.check_all([t.broken_job for t in tasks])
        return [Example(REPAIR.first(t, b), REPAIR.answer(t.fix), t) for t, b in zip(tasks, broken, strict=True)]

    def ask(prompts: Sequence[Prompt], latest: bool) -> list[Completion]:
        texts = [fixed(text) if latest else text for text in WRITTEN]
        return [Completion(text, 1, 1, 0.0) for text, _ in zip(texts, prompts, strict=True)]

    def ended(step: int, loss: float) -> None:
        if kill and past.adapter and step == 1:
            os.kill(os.getpid(), signal.SIGKILL)

    past = Past()
    for number, tasks in enumerate(TASKS):
        told = tuple(examples(tasks))
        if isinstance(algorithm, Grpo):  # answers of four tokens, which may end at once
            told = tuple(replace(e, answer="1", prompt=replace(e.prompt, stop=(" (", "\n"))) for e in told)
        adapter = algorithm.fit(
            base, told, lora=Lora(r=4, dropout=0.1), train=Train(steps=3, batch_size=4, lr=1e-3, checkpoint_every=1),
            device="cpu", seed=0, folder=folder / str(number) / "adapter", place=folder / str(number) / "checkpoint",
            record={}, past=past, tools=Tools(checker.check_all, ask, REPAIR.program, examples), on_step=ended,
        )  # fmt: skip
        past = Past((*past.examples, told), adapter.folder)
    checker.cache.close()
    return {"losses": adapter.losses, **past.identity()}


@pytest.mark.slow
@pytest.mark.parametrize("name", ALGORITHMS)
def test_killed_in_the_middle_of_a_stream_it_ends_with_the_same_adapter(
    name: str, shallow: BaseModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    algorithm, cut = ALGORITHMS[name], tmp_path / "cut"
    child = multiprocessing.get_context("spawn").Process(target=stream, args=(shallow, cut, algorithm, True))
    child.start()
    child.join(300)
    assert child.exitcode == -signal.SIGKILL and not (cut / "1" / "adapter").exists()
    capsys.readouterr()
    resumed = stream(shallow, cut, algorithm, kill=False)
    assert "going on after step 1 " in capsys.readouterr().err
    assert resumed == stream(shallow, tmp_path / "whole", algorithm, kill=False)
