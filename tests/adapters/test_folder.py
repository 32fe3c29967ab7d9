"""PEFT folders: what is read is what PEFT computes; what is not plain LoRA, damaged or of another model is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from peft import LoftQConfig, LoraConfig, PeftConfig, VeraConfig
from peft.tuners.lora.config import ArrowConfig, BdLoraConfig, CordaConfig, EvaConfig, KasaConfig

from sleepy.adapters._plain import names_another_model, not_plain
from sleepy.adapters.find import find_adapters
from sleepy.adapters.folder import adapter_in, read_all, read_lora, read_updates, seal, write_lora
from sleepy.artifacts import Adapter, BaseModel
from sleepy.errors import ModelError
from tests.adapters.made import changed, random_adapter, tiny_base


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> BaseModel:
    return tiny_base(tmp_path_factory.mktemp("base") / "qwen2")


@pytest.fixture
def adapter(base: BaseModel, tmp_path: Path) -> Adapter:
    return random_adapter(base, tmp_path / "adapter")


def config_of(config: PeftConfig, folder: Path) -> dict[str, Any]:
    """The adapter_config.json that PEFT writes of it."""
    config.save_pretrained(folder)
    return json.loads((folder / "adapter_config.json").read_text())


PLAIN: list[dict[str, Any]] = [
    {},
    {"r": 3, "lora_alpha": 7, "lora_dropout": 0.3, "use_rslora": True, "target_modules": ["q_proj"]},
    {"target_modules": "all-linear", "task_type": "CAUSAL_LM", "inference_mode": True, "revision": "main"},
    {"target_modules": ["q_proj"], "layers_to_transform": [0], "layers_pattern": "layers"},
    {"rank_pattern": {"q_proj": 2}},
    {"init_lora_weights": False},
    {"init_lora_weights": "gaussian"},
    {"init_lora_weights": "orthogonal"},
    {"init_lora_weights": "eva", "eva_config": EvaConfig()},
]
NOT_PLAIN: list[tuple[str, dict[str, Any]]] = [
    ("alpha_pattern", {"alpha_pattern": {"q_proj": 2}}),
    ("init_lora_weights=pissa", {"init_lora_weights": "pissa"}),
    ("init_lora_weights=pissa_niter_4", {"init_lora_weights": "pissa_niter_4"}),
    ("init_lora_weights=olora", {"init_lora_weights": "olora"}),
    ("init_lora_weights=corda", {"init_lora_weights": "corda", "corda_config": CordaConfig()}),
    ("init_lora_weights=loftq", {"init_lora_weights": "loftq", "loftq_config": LoftQConfig()}),
    ("init_lora_weights=lora_ga", {"init_lora_weights": "lora_ga"}),
    ("use_dora", {"use_dora": True}),
    ("alora_invocation_tokens", {"alora_invocation_tokens": [1, 2]}),
    ("use_qalora", {"use_qalora": True}),
    ("layer_replication", {"layer_replication": [(0, 2), (1, 2)]}),
    ("trainable_token_indices", {"trainable_token_indices": [3]}),
    ("modules_to_save", {"modules_to_save": ["lm_head"]}),
    ("exclude_modules", {"exclude_modules": ["lm_head"]}),
    ("bias=all", {"bias": "all"}),
    ("lora_bias", {"lora_bias": True}),
    ("fan_in_fan_out", {"fan_in_fan_out": True}),
    ("target_parameters", {"target_parameters": ["experts.up"]}),
    ("arrow_config", {"arrow_config": ArrowConfig()}),
    ("use_bdlora", {"use_bdlora": BdLoraConfig()}),
    ("kasa_config", {"kasa_config": KasaConfig()}),
]


@pytest.mark.parametrize("options", PLAIN, ids=str)
def test_plain_lora_is_taken(options: dict[str, Any], tmp_path: Path) -> None:
    assert not_plain(config_of(LoraConfig(**options), tmp_path)) == ""


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("named", "options"), NOT_PLAIN, ids=[named for named, _ in NOT_PLAIN])
def test_what_is_no_plain_lora_is_refused_by_name(
    named: str, options: dict[str, Any], base: BaseModel, adapter: Adapter
) -> None:
    config_of(LoraConfig(**options), adapter.folder)
    for read in (lambda: read_updates(adapter, base), lambda: read_lora(adapter.folder)):
        with pytest.raises(ModelError, match=f"not plain LoRA.*{named}"):
            read()


def test_other_methods_and_fields_of_a_later_peft_are_refused(tmp_path: Path) -> None:
    assert not_plain(config_of(VeraConfig(), tmp_path)) == "peft_type=VERA"
    plain = config_of(LoraConfig(), tmp_path)
    assert not_plain({**plain, "use_new": None, "new_config": {}}) == ""
    assert not_plain({**plain, "use_new": True, "use_dora": True}) == "use_dora=True, use_new=True"


@pytest.mark.parametrize(
    ("named", "other"),
    [
        ("Qwen/Qwen2.5-Coder-0.5B-Instruct", False),
        ("qwen2.5-coder-0.5b", False),
        ("unsloth/qwen2.5-coder-0.5b-instruct-bnb-4bit", False),
        ("Qwen2.5_Coder_0.5B", False),
        ("", False),
        ("/data/models/base", False),
        ("../base", False),
        ("C:\\models\\base", False),
        ("Qwen/Qwen2.5-0.5B-Instruct", True),
        ("Qwen/Qwen2.5-Coder-1.5B-Instruct", True),
        ("smollm2-135m", True),
    ],
)
def test_the_base_model_s_name_is_compared_as_far_as_it_is_one(named: str, other: bool) -> None:
    assert names_another_model(named, "qwen2.5-coder-0.5b") == other


def test_the_record_decides_and_without_one_the_name(base: BaseModel, adapter: Adapter) -> None:
    config = LoraConfig(base_model_name_or_path="owner/something-else")
    config_of(config, adapter.folder)
    assert adapter_in(adapter.folder, base).digest == adapter.digest
    (adapter.folder / "sleepy.json").unlink()
    with pytest.raises(ModelError, match=r"trained on owner/something-else, not on tiny-qwen2.*Choose that model"):
        adapter_in(adapter.folder, base)
    config.base_model_name_or_path = "owner/Tiny-Qwen2-Instruct"
    config_of(config, adapter.folder)
    assert adapter_in(adapter.folder, base).digest == adapter.digest


@pytest.mark.parametrize(
    "more", [{}, {"use_rslora": True}, {"rank_pattern": {"layers.1.self_attn.k_proj": 5}}], ids=str
)
def test_what_is_read_is_what_peft_adds(more: dict[str, Any], base: BaseModel, tmp_path: Path) -> None:
    import torch
    from peft import get_peft_model
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(base.weights, dtype="float32")
    options = {"r": 3, "lora_alpha": 7, "target_modules": ["k_proj", "down_proj"], "init_lora_weights": False, **more}
    model = get_peft_model(model, LoraConfig(**options))
    model.save_pretrained(tmp_path)
    read = read_lora(tmp_path)
    updates = {u.name: u.scale * u.b @ u.a for u in read_updates(adapter_in(tmp_path, base), base)}
    assert len(read) == len(updates) == 4
    for name, (b, a) in read.items():
        expected = model.get_base_model().get_submodule(name).get_delta_weight("default")
        torch.testing.assert_close(b @ a, expected)
        torch.testing.assert_close(updates[f"{name}.weight"], expected)


def test_what_is_written_is_read_again_and_found(base: BaseModel, adapter: Adapter, tmp_path: Path) -> None:
    import torch

    factors = read_lora(adapter.folder)
    write_lora(factors, tmp_path / "made", base.name)
    digest = seal(tmp_path / "made", base, {"of": adapter.digest})
    assert adapter_in(tmp_path / "made", base).digest == digest != adapter.digest
    record = json.loads((tmp_path / "made" / "sleepy.json").read_text())
    assert record == {"base": base.name, "base_digest": base.digest, "of": adapter.digest}
    found = find_adapters([tmp_path])
    assert list(found) == ["adapter", "made"]
    both = read_all(found)
    for layer, pair in both["adapter"].items():
        assert all(torch.equal(one, other) for one, other in zip(pair, both["made"][layer], strict=True))


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


def more_than_lora(adapter: Adapter, base: BaseModel) -> Adapter:
    name = "base_model.model.model.layers.0.mlp.up_proj.lora_magnitude_vector"
    return changed(adapter, base, lambda tensors: {**tensors, name: next(iter(tensors.values())).clone()})


def with_damaged_config(adapter: Adapter, base: BaseModel) -> Adapter:
    path = adapter.folder / "adapter_config.json"
    path.write_text(path.read_text()[:-20])
    return adapter


def without_one_side(adapter: Adapter, base: BaseModel) -> Adapter:
    return changed(adapter, base, lambda tensors: dict(sorted(tensors.items())[1:]))


@pytest.mark.parametrize(("spoil", "words"), [
    (of_another_model, "was trained on some-other"), (of_another_shape, "of another base model"),
    (of_other_names, "no such weight"), (truncated, "truncated or damaged"), (with_a_flipped_bit, "was changed after"),
    (gone, "adapter_config.json and adapter_model.safetensors missing"), (empty, ": no tensors"),
    (with_nan, "not finite"), (more_than_lora, "lora_magnitude_vector"), (without_one_side, "must consist of pairs"),
    (with_damaged_config, "damaged JSON"),
], ids=lambda value: getattr(value, "__name__", ""))  # fmt: skip
def test_an_adapter_that_is_damaged_or_does_not_fit_is_refused(
    spoil: Callable[[Adapter, BaseModel], Adapter], words: str, base: BaseModel, adapter: Adapter
) -> None:
    with pytest.raises(ModelError, match=words):
        read_updates(spoil(adapter, base), base)
