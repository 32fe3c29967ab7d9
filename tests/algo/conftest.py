"""A real model made small: SmolLM2's embedding and first two layers, fast enough for a property a test."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from sleepy.artifacts import BaseModel

LAYERS = 2


@pytest.fixture(scope="session")
def shallow(smollm2: BaseModel, tmp_path_factory: pytest.TempPathFactory) -> BaseModel:
    """SmolLM2 without its later layers, as a folder that transformers loads."""
    from safetensors.torch import load_file, save_file

    folder: Path = tmp_path_factory.mktemp("shallow")
    for path in smollm2.weights.iterdir():
        if path.suffix != ".safetensors":
            shutil.copyfile(path, folder / path.name)
    config = json.loads((folder / "config.json").read_text())
    config.pop("layer_types", None)
    (folder / "config.json").write_text(json.dumps({**config, "num_hidden_layers": LAYERS}))
    tensors = load_file(smollm2.weights / "model.safetensors")
    kept = {
        n: t for n, t in tensors.items() if ".layers." not in n or int(n.split(".layers.")[1].split(".")[0]) < LAYERS
    }
    save_file(kept, folder / "model.safetensors", {"format": "pt"})
    return replace(smollm2, name="smollm2-shallow", weights=folder)
