"""An adapter merged into weights: the same numbers as PEFT's, and a clear word for what does not fit."""

from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from sleepy.artifacts import Adapter, BaseModel
from sleepy.deliver.merge import Merge
from sleepy.errors import ModelError
from sleepy.files import whole
from sleepy.tensors import mapped
from tests.adapters.made import random_adapter, tiny_base, written


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
    folder = Merge().merge(adapter, base, tmp_path / "merged")

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


def test_without_an_adapter_the_base_is_the_merged_folder(base: BaseModel, tmp_path: Path) -> None:
    assert Merge().merge(None, base, tmp_path / "merged") == base.weights
    assert not (tmp_path / "merged").exists()


def test_merging_again_replaces_the_folder(base: BaseModel, adapter: Adapter, tmp_path: Path) -> None:
    for name in ("merged", "merged.part"):  # of a run that ended well, and of one that was killed
        (tmp_path / name).mkdir()
        (tmp_path / name / "left.over").write_text("")
    folder = Merge().merge(adapter, base, tmp_path / "merged")
    assert {path.name for path in folder.iterdir()} == {path.name for path in base.weights.iterdir()}


def of_another_model(adapter: Adapter, base: BaseModel) -> Adapter:
    record = adapter.folder / "sleepy.json"
    record.write_text(json.dumps({"base": "some-other", "base_digest": "ab" * 32}))
    return adapter


def of_another_shape(adapter: Adapter, base: BaseModel) -> Adapter:
    (adapter.folder / "sleepy.json").unlink()
    return changed(
        adapter,
        base,
        lambda tensors: {name: tensor.repeat(1, 2) if "lora_A" in name else tensor for name, tensor in tensors.items()},
    )


def of_other_names(adapter: Adapter, base: BaseModel) -> Adapter:
    return changed(adapter, base, lambda tensors: {name.replace("layers", "h"): t for name, t in tensors.items()})


def truncated(adapter: Adapter, base: BaseModel) -> Adapter:
    path = adapter.folder / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    return adapter


def with_a_flipped_bit(adapter: Adapter, base: BaseModel) -> Adapter:
    path = adapter.folder / "adapter_model.safetensors"
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)
    return adapter


def gone(adapter: Adapter, base: BaseModel) -> Adapter:
    shutil.rmtree(adapter.folder)
    return adapter


def empty(adapter: Adapter, base: BaseModel) -> Adapter:
    return changed(adapter, base, lambda tensors: {})


def with_nan(adapter: Adapter, base: BaseModel) -> Adapter:
    return changed(adapter, base, lambda tensors: {name: tensor * float("nan") for name, tensor in tensors.items()})


def too_large(adapter: Adapter, base: BaseModel) -> Adapter:
    return changed(adapter, base, lambda tensors: {name: tensor * 1e4 for name, tensor in tensors.items()})


def more_than_lora(adapter: Adapter, base: BaseModel) -> Adapter:
    name = "base_model.model.model.layers.0.mlp.up_proj.lora_magnitude_vector"
    return changed(adapter, base, lambda tensors: {**tensors, name: next(iter(tensors.values())).clone()})


def with_patterns(adapter: Adapter, base: BaseModel) -> Adapter:
    path = adapter.folder / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "alpha_pattern": {"q_proj": 3}}))
    return adapter


def with_damaged_config(adapter: Adapter, base: BaseModel) -> Adapter:
    path = adapter.folder / "adapter_config.json"
    path.write_text(path.read_text()[:-20])
    return adapter


def changed(adapter: Adapter, base: BaseModel, change: Callable[[dict], dict]) -> Adapter:
    from safetensors.torch import load_file

    return written(adapter.folder, change(load_file(adapter.folder / "adapter_model.safetensors")), base)


@pytest.mark.parametrize(("spoil", "words"), [
    (of_another_model, "was trained on some-other"), (of_another_shape, "of another base model"),
    (of_other_names, "no such weight"), (truncated, "truncated or damaged"), (with_a_flipped_bit, "was changed since"),
    (gone, "found no adapter_config.json and no adapter_model.safetensors"), (empty, "found no tensors"),
    (with_nan, "not finite"), (too_large, "what f16 can hold"), (more_than_lora, "lora_magnitude_vector"),
    (with_patterns, "LORA with alpha_pattern"), (with_damaged_config, "damaged JSON"),
], ids=lambda value: getattr(value, "__name__", ""))  # fmt: skip
def test_an_adapter_that_does_not_fit_is_refused(
    spoil: Callable[[Adapter, BaseModel], Adapter], words: str, base: BaseModel, adapter: Adapter, tmp_path: Path
) -> None:
    bad = spoil(adapter, base)
    with pytest.raises(ModelError, match=words):
        Merge().merge(bad, base, tmp_path / "merged")
    assert not list(tmp_path.glob("merged*"))


def test_a_truncated_base_is_refused(base: BaseModel, adapter: Adapter, tmp_path: Path) -> None:
    cut = replace(base, weights=tmp_path / "cut")
    shutil.copytree(base.weights, cut.weights)
    content = (base.weights / "model.safetensors").read_bytes()
    for size in (0, 5, 3000, len(content) - 1):
        (cut.weights / "model.safetensors").write_bytes(content[:size])
        with pytest.raises(ModelError, match="truncated"):
            Merge().merge(adapter, cut, tmp_path / "merged")


def test_no_room_is_said_before_anything_is_written(
    base: BaseModel, adapter: Adapter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10, 9, 1))
    with pytest.raises(ModelError, match="GB free"):
        Merge().merge(adapter, base, tmp_path / "merged")


def test_a_file_is_whole_or_absent(tmp_path: Path) -> None:
    target = tmp_path / "deep/file"
    with pytest.raises(KeyboardInterrupt), whole(target) as partial:
        partial.write_text("half")
        raise KeyboardInterrupt
    assert list(target.parent.iterdir()) == []
    with pytest.raises(ModelError, match="No space left"), whole(target) as partial:
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


def test_what_was_merged_is_cleaned_up_and_the_base_never(tmp_path: Path) -> None:
    base = BaseModel("b", tmp_path / "g", tmp_path / "f", tmp_path / "weights", "d")
    merged = tmp_path / "merged"
    for folder in (base.weights, merged):
        folder.mkdir()
    Merge(keep=True).clean(merged, base)
    assert merged.exists()
    Merge().clean(merged, base)
    Merge().clean(base.weights, base)
    assert base.weights.exists() and not merged.exists()


@pytest.mark.parametrize("keep", [True, False])
def test_cleaning_removes_what_merging_wrote_and_never_the_base(
    keep: bool, base: BaseModel, adapter: Adapter, tmp_path: Path
) -> None:
    option = Merge(keep=keep)
    merged = option.merge(adapter, base, tmp_path / "merged")
    option.clean(merged, base)
    assert merged.exists() == keep
    option.clean(option.merge(None, base, tmp_path / "merged"), base)
    assert (base.weights / "model.safetensors").is_file()
