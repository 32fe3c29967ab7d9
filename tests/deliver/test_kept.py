"""What an exported file keeps of a small update."""

from __future__ import annotations

import pytest

from sleepy.artifacts import BaseModel
from sleepy.deliver.export import Export, Files
from sleepy.deliver.merge import merge
from sleepy.gguf.header import read_header
from sleepy.gguf.quantize import quantize
from sleepy.models.derive import derive_from_gguf
from tests.adapters.made import random_adapter
from tests.models.places import write_gguf


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> BaseModel:
    """A tiny model whose published file is quantised, so that its weights lie on the file's grid."""
    folder = tmp_path_factory.mktemp("quantised")
    source = write_gguf(folder / "f16.gguf", "qwen2", "own")
    quantize(source, folder / "tiny.gguf", "q4_k_m", {})
    (folder / "derived").mkdir()
    derive_from_gguf(folder / "tiny.gguf", folder / "derived")
    return BaseModel(
        "tiny", folder / "tiny.gguf", folder / "derived" / "f16.gguf", folder / "derived" / "weights", "d" * 64
    )


@pytest.fixture(scope="module")
def small(base: BaseModel, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Files]:
    """An update as small as a short training's (mean |dW| / |W| of half a percent), in each form."""
    folder = tmp_path_factory.mktemp("small")
    adapter = random_adapter(base, folder / "adapter", 0.004)
    weights = merge(adapter, base, folder / "merged")
    return {
        kind: Export(quantization=kind, proof_prompts=0).export(weights, base, adapter, [], folder / kind, "n")
        for kind in ("keep", "q4_k_m", "q8_0", "f16")
    }


def test_few_bits_erase_it_and_the_default_keeps_it(small: dict[str, Files]) -> None:
    shares = {kind: files.kept.share for kind, files in small.items() if files.kept}
    assert shares["f16"] == pytest.approx(1, abs=0.02)
    assert shares["keep"] > 0.95 and shares["q4_k_m"] < 0.5, shares
    changed = {kind: files.kept.changed for kind, files in small.items() if files.kept}
    assert 0 < changed["q4_k_m"] < changed["keep"] <= 1


def test_a_file_that_lost_it_is_no_result(small: dict[str, Files]) -> None:
    lost = small["q4_k_m"]
    assert lost.modelfile is None and not (lost.gguf.path.parent / "Modelfile").exists()
    assert any("it is not what was measured and judged. Use adapter.gguf" in w for w in lost.warnings)
    assert small["keep"].modelfile and not any("keeps" in w for w in small["keep"].warnings)


def test_what_the_adapter_does_not_touch_stays_as_the_base_has_it(small: dict[str, Files], base: BaseModel) -> None:
    before, after = read_header(base.gguf), read_header(small["keep"].gguf.path)
    touched = {n for n, (shape, _, _) in after.tensors.items() if ("attn" in n or "ffn" in n) and len(shape) > 1}
    assert touched
    for name, (shape, kind, _) in after.tensors.items():
        if len(shape) > 1:
            own = before.tensors[name][1]
            assert kind == ((1 if own == 8 else 8) if name in touched else own), name
