"""Every algorithm, ended in the second task of a stream, resumes to the adapter of an unbroken run; and a checkpoint is
whole whenever the process is killed."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from sleepy.artifacts import BaseModel, Completion, Prompt, Task
from sleepy.repair.single_shot import SingleShot
from sleepy.sandbox.checker import Checker
from sleepy.train import checkpoint
from sleepy.train.algorithm import Algorithm
from sleepy.train.batches import Example
from sleepy.train.ewc import Ewc
from sleepy.train.grpo import Grpo
from sleepy.train.olora import OLora
from sleepy.train.osf import Osf
from sleepy.train.sam import Sam
from sleepy.train.sft import Sft
from sleepy.train.share import Share
from sleepy.train.ssr import Ssr
from sleepy.train.sure import Sure
from sleepy.train.training import Past, Tools
from tests.train.fitting import STOPS, fit

REPAIR = SingleShot()
ALGORITHMS: dict[str, Algorithm] = {
    "naive": Sft(),  # targeted and replay choose other pairs, and train alike
    "ewc": Ewc(fisher_samples=4),
    "olora": OLora(),
    "sure": Sure(buffer=2, ema=0.5),
    "ssr": Ssr(asked=3, kept=1),
    "sam": Sam(),
    "osf": Osf(rank=2),
    "share": Share(variance=0.9),
    "coef_only": Share(variance=0.9, phi=0),
    "grpo": Grpo(max_new_tokens=4, temperature=5.0),
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


class Killed(Exception):
    """What ends a run between a step and its checkpoint."""


def stream(base: BaseModel, folder: Path, algorithm: Algorithm, checker: Checker, kill: bool) -> dict[str, object]:
    """Two tasks, one after the other, each with a checkpoint a step; the last adapter and what it remembers, as
    digests. `kill` ends the run after the second task's second step, before its checkpoint."""

    def examples(tasks: Sequence[Task]) -> list[Example]:
        broken = checker.check_all([t.broken_job for t in tasks])
        return [Example(REPAIR.first(t, b), REPAIR.answer(t.fix), t) for t, b in zip(tasks, broken, strict=True)]

    def ask(prompts: Sequence[Prompt], latest: bool) -> list[Completion]:
        texts = [fixed(text) if latest else text for text in WRITTEN]
        return [Completion(text, 1, 1, 0.0) for text, _ in zip(texts, prompts, strict=True)]

    def ended(step: int, loss: float) -> None:
        if kill and past.adapter and step == 1:
            raise Killed

    past, tools = Past(), Tools(checker.check_all, ask, REPAIR.program, examples)
    for number, tasks in enumerate(TASKS):
        told = tuple(examples(tasks))
        if isinstance(algorithm, Grpo):  # answers of four tokens, which may end at once
            told = tuple(replace(e, answer="1", prompt=replace(e.prompt, stop=STOPS)) for e in told)
        adapter = fit(
            base, folder / str(number), algorithm, past, examples=told, tools=tools, on_step=ended, batch_size=4
        )
        past = Past((*past.examples, told), adapter.folder)
    return {"losses": adapter.losses, **past.identity()}


@pytest.mark.parametrize("name", ALGORITHMS)
def test_ended_in_the_middle_of_a_stream_it_resumes_to_the_same_adapter(
    name: str, tiny: BaseModel, tmp_path: Path, checker: Checker, capsys: pytest.CaptureFixture[str]
) -> None:
    algorithm, cut = ALGORITHMS[name], tmp_path / "cut"
    with pytest.raises(Killed):
        stream(tiny, cut, algorithm, checker, kill=True)
    assert not (cut / "1" / "adapter").exists()
    capsys.readouterr()
    resumed = stream(tiny, cut, algorithm, checker, kill=False)
    assert "Resuming after step 1 " in capsys.readouterr().err
    assert resumed == stream(tiny, tmp_path / "whole", algorithm, checker, kill=False)


def killed_while_training(base: BaseModel, folder: Path) -> None:
    fit(base, folder, steps=5, on_step=lambda step, loss: os.kill(os.getpid(), signal.SIGKILL) if step == 2 else None)


def saves_on_and_on(folder: Path) -> None:
    import torch

    for n in range(500):  # ends, if nobody ends it
        checkpoint.save(folder, {"n": n, "tensors": [torch.full((1 << 16,), float(n)) for _ in range(64)]})


def test_after_a_real_kill_a_run_resumes_to_the_same_adapter(tiny: BaseModel, tmp_path: Path) -> None:
    child = multiprocessing.get_context("spawn").Process(target=killed_while_training, args=(tiny, tmp_path / "cut"))
    child.start()
    child.join()
    assert child.exitcode == -signal.SIGKILL
    resumed, whole = fit(tiny, tmp_path / "cut", steps=5), fit(tiny, tmp_path / "whole", steps=5)
    assert (resumed.digest, resumed.losses) == (whole.digest, whole.losses)


def test_a_kill_while_a_checkpoint_is_written_leaves_a_whole_one(tmp_path: Path) -> None:
    """Whenever it comes: nearly all of the child's time goes into writing."""
    child = multiprocessing.get_context("spawn").Process(target=saves_on_and_on, args=(tmp_path,))
    child.start()
    while child.is_alive() and not (tmp_path / "state.pt").exists():
        time.sleep(0.01)
    first = (tmp_path / "state.pt").stat().st_mtime_ns
    while child.is_alive() and (tmp_path / "state.pt").stat().st_mtime_ns == first:
        time.sleep(0.003)
    child.kill()
    child.join()
    assert child.exitcode == -signal.SIGKILL
    state = checkpoint.load(tmp_path)
    assert state is not None and all((t == state["n"]).all() for t in state["tensors"])
