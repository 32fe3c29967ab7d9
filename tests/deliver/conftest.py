"""SmolLM2 with a random adapter, merged and exported once; not to be changed."""

from __future__ import annotations

from pathlib import Path

import pytest

from sleepy.artifacts import Adapter, BaseModel, Prompt
from sleepy.deliver.export import Export, Files
from sleepy.deliver.merge import merge
from tests.adapters.made import random_adapter

PROMPTS = [
    Prompt(({"role": "system", "content": "You know Rust."}, {"role": "user", "content": text}), "In Rust,", ())
    for text in ("What is ownership? " * 9, "What is a lifetime?", "Why does `let größe = 12345;` compile?")
]


@pytest.fixture(scope="session")
def adapter(smollm2: BaseModel, tmp_path_factory: pytest.TempPathFactory) -> Adapter:
    return random_adapter(smollm2, tmp_path_factory.mktemp("adapter"), 0.05)


@pytest.fixture(scope="session")
def merged(smollm2: BaseModel, adapter: Adapter, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return merge(adapter, smollm2, tmp_path_factory.mktemp("merge") / "merged")


@pytest.fixture(scope="session")
def exported(smollm2: BaseModel, adapter: Adapter, merged: Path, tmp_path_factory: pytest.TempPathFactory) -> Files:
    folder = tmp_path_factory.mktemp("export") / "files"
    return Export(quantization="q4_k_m", keep_f16=True).export(
        merged, smollm2, adapter, PROMPTS, folder, "smollm2 naive"
    )


@pytest.fixture(scope="session")
def f16(exported: Files) -> Path:
    return exported.gguf.path.with_name("model-f16.gguf")
