"""The proof of an export: it holds for what is right, and only for that."""

from __future__ import annotations

import shutil
import struct
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from sleepy.artifacts import BaseModel
from sleepy.deliver.proof import _Answer, _answers, _compare, prove
from sleepy.errors import ModelError
from sleepy.gguf.header import read_header, with_text
from sleepy.tensors import mapped
from tests.adapters.made import tiny_base
from tests.deliver.conftest import PROMPTS


def test_a_sound_export_is_proven(merged: Path, f16: Path) -> None:
    proof = prove(merged, f16, PROMPTS[1:], 6)
    assert proof.line.startswith("same greedy text from merged model and f16 GGUF: 2 prompts, 12 tokens")
    assert proof.warnings == ()


@pytest.mark.parametrize("name", ["blk.15.ffn_down.weight", "blk.29.attn_v.weight", "blk.20.attn_q.weight"])
def test_a_single_wrong_tensor_is_found(name: str, merged: Path, f16: Path, tmp_path: Path) -> None:
    wrong = shutil.copyfile(f16, tmp_path / "wrong.gguf")
    shape, _, offset = (header := read_header(wrong)).tensors[name]
    values = np.memmap(wrong, np.float16, "r+", header.data + offset, shape)
    values[:] = values.reshape(-1, 2, *shape[1:]).swapaxes(0, 1).reshape(shape)  # rows in a wrong order
    values.flush()
    with pytest.raises(ModelError, match="the export is wrong"):
        prove(merged, wrong, PROMPTS[1:2], 6)


def test_the_base_is_not_taken_for_the_merged_model(merged: Path, smollm2: BaseModel) -> None:
    with pytest.raises(ModelError, match="the export is wrong"):
        prove(merged, smollm2.gguf_f16, PROMPTS[1:2], 6)


def test_nan_proves_nothing(tmp_path: Path) -> None:
    base = tiny_base(tmp_path / "base")
    answers = _answers(base.gguf_f16, [[1, 2, 3]], 2)
    assert _compare(base.weights, base.gguf_f16, answers)[0] == []
    answers[0].logits[1, 5] = np.nan
    with pytest.raises(ModelError, match="off by nan"):
        _compare(base.weights, base.gguf_f16, answers)
    mapped(base.weights / "model.safetensors", "r+")["model.norm.weight"][:] = np.nan
    with pytest.raises(ModelError, match="prefers"):
        _compare(base.weights, base.gguf_f16, answers)


def test_a_file_that_cannot_be_loaded_is_named(merged: Path, f16: Path, tmp_path: Path) -> None:
    with f16.open("rb") as stream:
        (tmp_path / "cut.gguf").write_bytes(stream.read(f16.stat().st_size - 10_000))
    with pytest.raises(ModelError, match=r"cut\.gguf: llama.cpp cannot"):
        prove(merged, tmp_path / "cut.gguf", PROMPTS[1:2], 6)


def test_too_little_memory_is_a_warning(merged: Path, f16: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import psutil

    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=5e8))
    proof = prove(merged, f16, PROMPTS[1:2], 6)
    assert "not compared" in proof.line
    assert proof.warnings[0].endswith("that takes 0.5 GB of memory, found 0.5")


def test_another_chat_template_is_found(merged: Path, f16: Path, tmp_path: Path) -> None:
    other = with_text(read_header(f16), "tokenizer.chat_template", "{{ messages[0]['content'] }}")
    (tmp_path / "other.gguf").write_bytes(other.packed())
    with pytest.raises(ModelError, match=r"chat template says 'You know Rust\.'"):
        prove(merged, tmp_path / "other.gguf", PROMPTS[1:2], 6)


def test_another_tokenizer_is_a_warning(tmp_path: Path) -> None:
    base = tiny_base(tmp_path / "base")
    header, content = read_header(base.gguf_f16), base.gguf_f16.read_bytes()
    other = with_text(header, "tokenizer.ggml.pre", "gpt-2")  # keeps digits together
    (tmp_path / "other.gguf").write_bytes(other.packed() + content[header.data :])
    prompts = [PROMPTS[0], replace(PROMPTS[1], prefill="let x = 12;")]
    proof = prove(base.weights, tmp_path / "other.gguf", prompts, 4)
    assert proof.warnings[0].startswith("transformers and llama.cpp split 1 of 2 prompts into different tokens")
    assert prove(base.weights, base.gguf_f16, prompts, 4).warnings == ()


def test_only_near_ties_are_excused(tmp_path: Path) -> None:
    """Two rows of the head made equal but for a factor: their tokens are as near to each other as one likes."""
    base = tiny_base(tmp_path / "base", head="own")
    answer = _answers(base.gguf_f16, [[1, 2, 3]], 1)[0]
    first = answer.tokens[0]
    other = first - 1
    weights = mapped(base.weights / "model.safetensors", "r+")["lm_head.weight"]
    top = float(answer.logits[0].max())
    for gap, excused in ((0.05, True), (0.2, False)):
        weights[other] = weights[first].astype(np.float32) * (1 - gap / top)
        changed = answer.logits.copy()
        changed[0, other] = top - gap
        tied = _Answer(answer.prompt, [other], changed)
        if excused:
            gaps, error = _compare(base.weights, base.gguf_f16, [tied])
            assert gaps == [pytest.approx(gap, abs=0.02)]
            assert error < 0.01
        else:
            with pytest.raises(ModelError, match=rf"token {other} where the merged model prefers {first} by 0\.2"):
                _compare(base.weights, base.gguf_f16, [tied])


def test_an_answer_ends_with_its_end_token(tmp_path: Path) -> None:
    base = tiny_base(tmp_path / "base")
    header = read_header(base.gguf_f16)
    long = _answers(base.gguf_f16, [[1, 2, 3]], 5)[0].tokens
    assert len(long) == 5
    ends = replace(header, values={**header.values, "tokenizer.ggml.eos_token_id": struct.pack("<II", 4, long[1])})
    content = base.gguf_f16.read_bytes()[header.data :]
    (tmp_path / "ends.gguf").write_bytes(ends.packed() + content)
    assert _answers(tmp_path / "ends.gguf", [[1, 2, 3]], 5)[0].tokens == long[: long.index(long[1]) + 1]
