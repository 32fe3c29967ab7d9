"""Adapters switched on a loaded SmolLM2: each says what its merged file says, in any order and company."""

from __future__ import annotations

import shutil
import struct
from dataclasses import replace
from pathlib import Path

import pytest

from sleepy.artifacts import BaseModel, HotAdapter, Prompt, Served
from sleepy.engines.llama_cpp import LlamaCpp
from sleepy.engines.transformers import Transformers
from sleepy.errors import EngineError
from sleepy.export._adapter import adapter_gguf
from sleepy.export._write import write_f16
from sleepy.merge.default import Merge
from tests.merge.made import random_adapter, tiny_base

LLAMA, HF = LlamaCpp(threads=1, context=512), Transformers(device="cpu", precision="fp32")
PROMPTS = [
    Prompt(({"role": "system", "content": "You know Rust."}, {"role": "user", "content": text}), "In Rust,", (), text, 24)
    for text in ("What is ownership?", "What is a lifetime?", "Why is borrowing checked?")
]


def hot(base: BaseModel, folder: Path, name: str, size: float) -> HotAdapter:
    """A random adapter of `base` in both formats."""
    adapter = random_adapter(base, folder / name, size)
    return HotAdapter(name, adapter_gguf(adapter, base, folder / f"{name}.gguf", name).path, adapter.folder)


@pytest.fixture(scope="module")
def served(smollm2: BaseModel, tmp_path_factory: pytest.TempPathFactory) -> Served:
    folder = tmp_path_factory.mktemp("hot")
    adapters = tuple(hot(smollm2, folder, name, size) for name, size in (("day.1", 0.05), ("day.2", -0.05)))
    return Served("smollm2", smollm2.gguf_f16, smollm2.weights, "x", adapters)


def worn(*names: str) -> list[Prompt]:
    """The prompts, each once for every one of the named adapters."""
    return [replace(prompt, adapter=name) for prompt in PROMPTS for name in names]
