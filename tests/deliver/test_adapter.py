"""The adapter alone as GGUF: llama.cpp, given base and adapter, says what the merged file says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sleepy.artifacts import BaseModel
from sleepy.deliver.export import Files
from sleepy.deliver.merge import merge
from sleepy.errors import ModelError
from sleepy.gguf.adapter import adapter_gguf
from sleepy.gguf.write import write_f16
from tests.adapters.made import random_adapter, tiny_base


def answer(model: Path, adapter: Path | None, prompt: list[int], tokens: int) -> tuple[list[int], np.ndarray]:
    """Greedy tokens, and the logits (tokens, vocabulary) of prompt and answer."""
    from llama_cpp import Llama

    llama = Llama(str(model), lora_path=str(adapter) if adapter else None, n_ctx=128, logits_all=True, verbose=False)
    llama.eval(prompt)
    chosen = []
    for _ in range(tokens):
        chosen.append(int(llama.scores[llama.n_tokens - 1].argmax()))
        llama.eval(chosen[-1:])
    logits = llama.scores[: llama.n_tokens].copy()
    llama.close()
    return chosen, logits


def off(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.sqrt(((one - other) ** 2).mean()) / other.std())


def test_smollm2_with_the_adapter_answers_as_the_merged_file(exported: Files, smollm2: BaseModel, f16: Path) -> None:
    prompt = [1, 520, 198, 5195, 29, 253, 14519]
    assert exported.adapter_gguf is not None
    tokens, logits = answer(smollm2.gguf_f16, exported.adapter_gguf.path, prompt, 8)
    merged, expected = answer(f16, None, prompt, 8)
    plain, without = answer(smollm2.gguf_f16, None, prompt, 8)
    assert tokens == merged != plain
    assert off(logits, expected) < 0.01
    assert off(without[: len(prompt)], expected[: len(prompt)]) > 0.1


@pytest.mark.parametrize(("arch", "rslora"), [("qwen2", False), ("llama", True)])
def test_it_is_scaled_and_ordered_as_the_architecture_wants(arch: str, rslora: bool, tmp_path: Path) -> None:
    import gguf

    base = tiny_base(tmp_path / "base", arch, "own")
    adapter = random_adapter(base, tmp_path / "adapter", rslora=rslora)
    file = adapter_gguf(adapter, base, tmp_path / "adapter.gguf", "tiny run")
    write_f16(merge(adapter, base, tmp_path / "merged"), base, tmp_path / "merged.gguf", {})
    prompt = list(range(1, 40))
    logits, expected = (
        answer(*files, prompt, 0)[1] for files in ((base.gguf_f16, file.path), (tmp_path / "merged.gguf", None))
    )
    assert off(logits, expected) < 0.01
    assert off(answer(base.gguf_f16, None, prompt, 0)[1], expected) > 0.05

    reader = gguf.GGUFReader(file.path)
    found = {name: field.contents() for name, field in reader.fields.items() if not name.startswith("GGUF.")}
    assert found == {
        "general.architecture": arch,
        "general.type": "adapter",
        "general.name": "tiny run",
        "adapter.type": "lora",
        "adapter.lora.alpha": 12.0 if rslora else 6.0,
    }
    assert len(reader.tensors) == 2 * 7 * 2
    assert {tuple(t.shape) for t in reader.tensors if t.name.startswith("blk.0.ffn_up")} == {(64, 4), (4, 128)}


def test_layers_of_other_rank_keep_their_scale(tmp_path: Path) -> None:
    """llama.cpp divides one alpha by each layer's own rank; rsLoRA divides by its root."""
    from safetensors.torch import load_file

    from tests.adapters.made import written

    base = tiny_base(tmp_path / "base")
    adapter = random_adapter(base, tmp_path / "adapter", rslora=True)
    tensors = load_file(adapter.folder / "adapter_model.safetensors")
    for name, tensor in tensors.items():
        if "up_proj.lora_A" in name:
            tensors[name] = tensor[:1].clone()
        elif "up_proj.lora_B" in name:
            tensors[name] = tensor[:, :1].clone()
    adapter = written(adapter.folder, tensors, base)
    file = adapter_gguf(adapter, base, tmp_path / "adapter.gguf", "tiny run")
    write_f16(merge(adapter, base, tmp_path / "merged"), base, tmp_path / "merged.gguf", {})
    prompt = list(range(1, 40))
    logits, expected = (
        answer(*files, prompt, 0)[1] for files in ((base.gguf_f16, file.path), (tmp_path / "merged.gguf", None))
    )
    assert off(logits, expected) < 0.01


def test_an_adapter_of_another_model_is_refused(exported: Files, smollm2: BaseModel, tmp_path: Path) -> None:
    base = tiny_base(tmp_path / "base")
    adapter = random_adapter(base, tmp_path / "adapter")
    with pytest.raises(ModelError, match="was trained on tiny-qwen2"):
        adapter_gguf(adapter, smollm2, tmp_path / "adapter.gguf", "wrong")
    assert not list(tmp_path.glob("adapter.gguf*"))
