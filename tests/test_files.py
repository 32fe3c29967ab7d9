"""A disk that is full, whoever writes to it: a DiskError that names the file, and nothing by half."""

from __future__ import annotations

import os
import resource
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sleepy.artifacts import BaseModel
from sleepy.errors import DiskError
from sleepy.files import explained, whole, write_tensors
from tests.adapters.made import tiny_base
from tests.jobs import ROOT

Write = Callable[[Path], None]
SIZE = 48 << 10  # bytes that the disk, or a file on it, may have


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> BaseModel:
    return tiny_base(tmp_path_factory.mktemp("base") / "qwen2")


@contextmanager
def limited(folder: Path) -> Iterator[Path]:
    """No file may grow beyond SIZE, as under a quota."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (SIZE, before[1]))
    try:
        yield folder
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@contextmanager
def mounted(folder: Path) -> Iterator[Path]:
    """A real file system of SIZE."""
    place = folder / "disk"
    place.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(place)]
    if subprocess.run(words, capture_output=True).returncode:
        pytest.skip("only root mounts a file system")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def tensors() -> dict:
    import torch

    return {"a": torch.arange(SIZE // 2, dtype=torch.float32)}


def checkpoint(base: BaseModel, folder: Path) -> Write:
    from sleepy.train.checkpoint import save

    return lambda disk: save(disk, tensors())


def memory(base: BaseModel, folder: Path) -> Write:
    return lambda disk: write_tensors(disk / "memory" / "x.safetensors", tensors())


def trained(base: BaseModel, folder: Path) -> Write:
    from sleepy.train.lora import Lora
    from sleepy.train.sft import Sft
    from tests.train.fitting import training

    trainer = Sft().start(training(base, folder, lora=Lora(r=16)))

    def write(disk: Path) -> None:
        trainer.training = replace(trainer.training, folder=disk / "adapter")
        Sft().write(trainer)

    return write


def combined(base: BaseModel, folder: Path) -> Write:
    from sleepy.adapters.folder import write_lora

    b, a = tensors()["a"].reshape(-1, 4), tensors()["a"].reshape(4, -1)
    return lambda disk: write_lora({"x": (b, a)}, disk / "adapter", "base")


def derived(base: BaseModel, folder: Path) -> Write:
    from sleepy.models.derive import write_weights

    return lambda disk: write_weights(base.weights, None, disk / "weights")


@pytest.mark.parametrize("full", [limited, mounted])
@pytest.mark.parametrize("writer", [checkpoint, memory, trained, combined, derived])
def test_a_full_disk_is_said_whoever_writes(base: BaseModel, tmp_path: Path, writer: Any, full: Any) -> None:
    (tmp_path / "own").mkdir()
    write = writer(base, tmp_path / "own")
    with full(tmp_path) as disk:
        with pytest.raises(DiskError, match=rf"{disk}.*(No space left|File too large).*must be writable and have room"):
            write(disk)
        left = {p.name for p in disk.rglob("*") if p.is_file()} - {"config.json", "generation_config.json"}
        assert not left  # a model's folder is removed by whoever has it made


def test_an_error_of_another_kind_goes_through(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="not the disk"), whole(tmp_path / "x") as partial:
        partial.write_text("half")
        raise RuntimeError("not the disk")
    with pytest.raises(FileNotFoundError), explained(tmp_path):
        (tmp_path / "none").read_text()
    assert not list(tmp_path.iterdir())


def test_an_error_that_the_disk_caused_is_found_behind_others(tmp_path: Path) -> None:
    with pytest.raises(DiskError, match=r"Permission denied.*again"), explained(tmp_path):
        try:
            raise PermissionError(13, "Permission denied", "secret.txt")
        except PermissionError as error:
            raise ValueError("cannot be saved") from error


HOLDS = """
import sys, time
from pathlib import Path
from sleepy.files import alone
with alone(Path("x.lock"), "making x"):
    print("has it", flush=True)
    time.sleep(float(sys.argv[1]))
"""


def test_a_lock_is_taken_over_from_a_process_that_was_killed(tmp_path: Path) -> None:
    def process(seconds: int) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", HOLDS, str(seconds)], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    owner = process(600)
    assert owner.stdout and owner.stdout.readline() == "has it\n"
    waits = process(0)
    assert waits.stderr and waits.stdout
    said = waits.stderr.readline()
    assert said == f"waiting for process {owner.pid} on {socket.gethostname()}, which is making x\n"
    assert waits.poll() is None
    owner.kill()
    assert waits.communicate(timeout=20)[0] == "has it\n" and waits.returncode == 0
    owner.communicate()
    assert [path.name for path in tmp_path.iterdir()] == ["x.lock"]
