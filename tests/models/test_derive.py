"""What is derived from a GGUF file: the same numbers, the same tokens, the same next word, in both forms."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import pytest

from sleepy.errors import ModelError
from sleepy.gguf.llama import header, quantize, tokenize
from sleepy.models.derive import DIGITS_APART, SAMPLE, compare_tokens, derive_from_gguf
from tests.models.places import TEMPLATE, write_gguf


def fields_of(gguf_file: Path) -> dict[str, object]:
    import gguf

    return {name: field.contents() for name, field in gguf.GGUFReader(gguf_file).fields.items()}


def state_of(weights: Path) -> dict[str, object]:
    from safetensors.torch import load_file

    return load_file(weights / "model.safetensors")


def next_logits_by_llama(gguf_file: Path, tokens: list[int]) -> list[float]:
    from llama_cpp import Llama

    engine = Llama(str(gguf_file), n_ctx=64, logits_all=True, verbose=False)
    engine.eval(tokens)
    return engine.scores[len(tokens) - 1].tolist()


@pytest.mark.parametrize("arch", ["qwen2", "llama"])
def test_transformers_and_llama_cpp_predict_the_same(arch: str, tmp_path: Path) -> None:
    import numpy as np
    import torch
    from transformers import AutoModelForCausalLM

    quantize(write_gguf(tmp_path / "float.gguf", arch), tmp_path / "tiny.gguf", "q8_0")
    derive_from_gguf(tmp_path / "tiny.gguf", tmp_path)
    tokens = [70, 12, 200, 5, 31, 90, 254, 1]
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "weights", dtype=torch.float32)
    with torch.no_grad():
        trained = model(torch.tensor([tokens])).logits[0, -1].numpy()
    served = np.array(next_logits_by_llama(tmp_path / "f16.gguf", tokens))
    assert np.abs(trained - served).max() < 0.02 * np.abs(trained).max()
    assert trained.argmax() == served.argmax()


def test_no_value_changes_on_the_way(published: Path, prepared: Path) -> None:
    import gguf
    import numpy as np

    derived = next(prepared.glob("models/tiny-*/derived-v1"))
    state = state_of(derived / "weights")
    exact = {t.name: gguf.dequantize(t.data, t.tensor_type) for t in gguf.GGUFReader(published).tensors}
    f16 = {t.name: t.data for t in gguf.GGUFReader(derived / "f16.gguf").tensors}
    names = {
        "token_embd.weight": "model.embed_tokens.weight",
        "output_norm.weight": "model.norm.weight",
        "blk.0.attn_q.weight": "model.layers.0.self_attn.q_proj.weight",
        "blk.0.attn_q.bias": "model.layers.0.self_attn.q_proj.bias",
        "blk.1.ffn_down.weight": "model.layers.1.mlp.down_proj.weight",
    }
    for ours, theirs in names.items():
        assert state[theirs].dtype.itemsize == 2
        assert np.array_equal(state[theirs].numpy(), exact[ours].astype(np.float16)), ours
        assert np.array_equal(f16[ours].astype(np.float16), exact[ours].astype(np.float16)), ours
    assert len(state) == len(exact)


def test_metadata_tokenizer_and_template_survive(published: Path, prepared: Path) -> None:
    from transformers import AutoTokenizer, GenerationConfig

    derived = next(prepared.glob("models/tiny-*/derived-v1"))
    before, after = fields_of(published), fields_of(derived / "f16.gguf")
    assert after.pop("general.file_type") == 1
    assert set(after) == set(before) - {"general.file_type"}
    counted = {"GGUF.kv_count", "GGUF.tensor_count"}
    assert [k for k, v in after.items() if v != before[k] and k not in counted] == []

    config = json.loads((derived / "weights/config.json").read_text())
    assert "quantization_config" not in config and config["dtype"] == "float16"
    tokenizer = AutoTokenizer.from_pretrained(derived / "weights")
    assert tokenizer.chat_template == TEMPLATE
    assert (tokenizer.eos_token, tokenizer.pad_token) == ("<|im_end|>", "<|endoftext|>")
    # llama.cpp stops at both; the metadata name only the last
    ends = GenerationConfig.from_pretrained(derived / "weights").eos_token_id
    assert tokenizer.convert_ids_to_tokens(ends) == ["<|endoftext|>", "<|im_end|>"]
    with header(derived / "f16.gguf") as model:
        assert tokenize(model, f"<|im_start|>{SAMPLE}") == tokenizer(f"<|im_start|>{SAMPLE}").input_ids


@pytest.mark.parametrize(("head", "tied"), [("none", True), ("equal", True), ("own", False)])
def test_a_head_is_tied_only_if_it_is_the_embedding(head: str, tied: bool, tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    derive_from_gguf(write_gguf(tmp_path / "tiny.gguf", head=head), tmp_path)
    state = state_of(tmp_path / "weights")
    assert ("lm_head.weight" in state) is not tied
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "weights")
    assert model.config.tie_word_embeddings is tied
    assert torch.equal(model.lm_head.weight, state["model.embed_tokens.weight" if tied else "lm_head.weight"])
    assert torch.equal(model.lm_head.weight, model.model.embed_tokens.weight) is tied


@pytest.mark.parametrize(("arch", "pre"), [("qwen2", "qwen2"), *(("llama", pre) for pre in DIGITS_APART)])
def test_both_part_text_alike(arch: str, pre: str, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    derive_from_gguf(write_gguf(tmp_path / "tiny.gguf", arch, pre=pre), tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "weights")
    with header(tmp_path / "f16.gguf") as model:
        for text in (SAMPLE, "    1", "a  12\n   3\n\n\n  let x", "0..10  - 25 fn\tfn  fn\n"):
            assert tokenizer(text).input_ids == tokenize(model, text), text


def test_tokenizers_that_disagree_are_announced(prepared: Path, tmp_path: Path) -> None:
    derived = next(prepared.glob("models/tiny-*/derived-v1"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        compare_tokens(derived / "weights", derived / "f16.gguf")
    other = write_gguf(tmp_path / "other.gguf")
    other.write_bytes(other.read_bytes().replace(b"f n", b"n f"))  # "fn" is not merged any more
    with pytest.warns(UserWarning, match="split a chat prompt differently"):
        compare_tokens(derived / "weights", other)


@pytest.mark.parametrize("keep", [0.3, 0.9])
def test_a_truncated_file_is_named(published: Path, tmp_path: Path, keep: float) -> None:
    data = published.read_bytes()
    (tmp_path / "cut.gguf").write_bytes(data[: int(keep * len(data))])
    with pytest.raises(ModelError, match=r"cut\.gguf: .*(cannot|file bounds)"):
        derive_from_gguf(tmp_path / "cut.gguf", tmp_path)
    with pytest.raises(ModelError, match=r"cut\.gguf: cannot be written as f16: .*(cannot|file bounds)"):
        quantize(tmp_path / "cut.gguf", tmp_path / "f16.gguf", "f16")
    assert not list(tmp_path.glob("f16*"))
