"""An adapter merged into weights: the same numbers as PEFT's."""

from __future__ import annotations

import errno
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from sleepy.artifacts import Adapter, BaseModel
from sleepy.deliver.merge import merge
from sleepy.errors import DiskError, ModelError
from sleepy.files import whole
from sleepy.tensors import mapped
from tests.adapters.made import changed, random_adapter, tiny_base


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> BaseModel:
    return tiny_base(tmp_path_factory.mktemp("base") / "qwen2")


@pytest.fixture
def adapter(base: BaseModel, tmp_path: Path) -> Adapter:
    return random_adapter(base, tmp_path / "adapter")


@pytest.mark.parametrize(
    ("arch", "head", "rslora"), [("qwen2", "own", False), ("llama", "none", False), ("qwen2", "none", True)]
)
def test_merged_weights_are_those_that_peft_merges(arch: str, head: str, rslora: bool, tmp_path: Path) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    base = tiny_base(tmp_path / "base", arch, head)
    adapter = random_adapter(base, tmp_path / "adapter", rslora=rslora)
    folder = merge(adapter, base, tmp_path / "merged")

    original = AutoModelForCausalLM.from_pretrained(base.weights, dtype=torch.float32)
    expected = PeftModel.from_pretrained(original, adapter.folder).merge_and_unload().state_dict()
    merged = AutoModelForCausalLM.from_pretrained(folder)
    assert merged.dtype == torch.float16
    assert (merged.lm_head.weight is merged.get_input_embeddings().weight) == (head == "none")
    state = merged.state_dict()
    assert state.keys() == expected.keys()
    for name, tensor in state.items():
        # half a unit in the last place of f16, however far off a bf16 would be
        torch.testing.assert_close(tensor.float(), expected[name], rtol=2**-11, atol=2**-25)
    assert not torch.equal(
        state["model.layers.1.mlp.down_proj.weight"].float(),
        AutoModelForCausalLM.from_pretrained(base.weights).model.layers[1].mlp.down_proj.weight.float(),
    )
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert tokenizer.chat_template == AutoTokenizer.from_pretrained(base.weights).chat_template


def test_merging_again_replaces_the_folder(base: BaseModel, adapter: Adapter, tmp_path: Path) -> None:
    (tmp_path / "merged").mkdir()
    (tmp_path / "merged" / "left.over").write_text("")
    folder = merge(adapter, base, tmp_path / "merged")
    assert {path.name for path in folder.iterdir()} == {path.name for path in base.weights.iterdir()}


def test_an_update_that_f16_cannot_hold_is_refused(base: BaseModel, adapter: Adapter, tmp_path: Path) -> None:
    large = changed(adapter, base, lambda tensors: {name: tensor * 1e4 for name, tensor in tensors.items()})
    with pytest.raises(ModelError, match="more than f16 can hold"):
        merge(large, base, tmp_path / "merged")
    assert not list(tmp_path.glob("merged*"))


def test_a_truncated_base_is_refused(base: BaseModel, adapter: Adapter, tmp_path: Path) -> None:
    cut = replace(base, weights=tmp_path / "cut")
    shutil.copytree(base.weights, cut.weights)
    content = (base.weights / "model.safetensors").read_bytes()
    for size in (0, 5, 3000, len(content) - 1):
        (cut.weights / "model.safetensors").write_bytes(content[:size])
        with pytest.raises(ModelError, match="truncated"):
            merge(adapter, cut, tmp_path / "merged")


def test_no_room_is_said_before_anything_is_written(
    base: BaseModel, adapter: Adapter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10, 9, 1))
    with pytest.raises(DiskError, match="GB are free"):
        merge(adapter, base, tmp_path / "merged")


def test_a_file_is_whole_or_absent(tmp_path: Path) -> None:
    target = tmp_path / "deep/file"
    with pytest.raises(KeyboardInterrupt), whole(target) as partial:
        partial.write_text("half")
        raise KeyboardInterrupt
    assert list(target.parent.iterdir()) == []
    with pytest.raises(DiskError, match="No space left"), whole(target) as partial:
        partial.write_text("half")
        raise OSError(errno.ENOSPC, "No space left on device", str(partial))
    assert list(target.parent.iterdir()) == []
    with pytest.raises(OSError, match="else"), whole(target):
        raise OSError(errno.EIO, "else")
    with whole(target) as partial:
        partial.write_text("all")
        assert not target.exists()
    assert [(path.name, path.read_text()) for path in target.parent.iterdir()] == [("file", "all")]


def test_mapped_tensors_are_those_that_safetensors_reads(base: BaseModel) -> None:
    import numpy as np
    from safetensors.numpy import load_file

    expected, found = load_file(base.weights / "model.safetensors"), mapped(base.weights / "model.safetensors")
    assert expected.keys() == found.keys()
    assert all(np.array_equal(found[name], expected[name]) for name in expected)
