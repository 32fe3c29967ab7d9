"""The exported GGUF file: the merged weights, everything else the base's, and nothing half-made."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from sleepy.artifacts import BaseModel, Served
from sleepy.deliver.export import Export, Files
from sleepy.deliver.merge import merge
from sleepy.engines.llama_cpp import LlamaCpp
from sleepy.errors import DiskError, EngineError, ModelError
from sleepy.gguf.header import read_header
from sleepy.gguf.layout import places
from sleepy.gguf.quantize import quantize
from sleepy.gguf.write import write_f16
from sleepy.tensors import mapped
from tests.adapters.made import random_adapter, tiny_base
from tests.deliver.conftest import PROMPTS


def metadata_of(path: Path) -> dict[str, object]:
    """As the gguf package reads it."""
    import gguf

    return {name: field.contents() for name, field in gguf.GGUFReader(path).fields.items()}


def test_untouched_weights_give_the_f16_file_again(smollm2: BaseModel, tmp_path: Path) -> None:
    write_f16(smollm2.weights, smollm2, tmp_path / "again.gguf", {})
    again, before = (path.open("rb") for path in (tmp_path / "again.gguf", smollm2.gguf_f16))
    assert hashlib.file_digest(again, "sha256").digest() == hashlib.file_digest(before, "sha256").digest()


def test_every_tensor_of_the_f16_file_is_found_among_the_weights(smollm2: BaseModel) -> None:
    found = places(smollm2, mapped(smollm2.weights / "model.safetensors"))
    assert {place.name for place in found.values()} == read_header(smollm2.gguf_f16).tensors.keys()
    reordered = {name.split(".", 3)[3]: place.heads for name, place in found.items() if place.heads}
    assert reordered == {"self_attn.q_proj.weight": 9, "self_attn.k_proj.weight": 3}


@pytest.mark.parametrize(("arch", "head"), [("llama", "none"), ("qwen2", "own")])
def test_transformers_reads_the_merged_weights_out_of_the_f16_file(arch: str, head: str, tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    base = tiny_base(tmp_path / "base", arch, head)
    adapter = random_adapter(base, tmp_path / "adapter")
    merged = merge(adapter, base, tmp_path / "merged")
    write_f16(merged, base, tmp_path / "f16.gguf", {"general.name": "a run's long name", "general.description": "new"})

    expected = AutoModelForCausalLM.from_pretrained(merged).state_dict()
    read = AutoModelForCausalLM.from_pretrained(tmp_path, gguf_file="f16.gguf", dtype=torch.float16).state_dict()
    assert read.keys() == expected.keys()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in read.items())
    names = {"general.name": "a run's long name", "general.description": "new", "GGUF.kv_count": 0}
    assert {**metadata_of(base.gguf_f16), **names} == {**metadata_of(tmp_path / "f16.gguf"), "GGUF.kv_count": 0}


def test_the_exported_file_says_what_it_is(exported: Files, smollm2: BaseModel) -> None:
    found, before = read_header(exported.gguf.path), read_header(smollm2.gguf_f16)
    assert found.text("general.name") == "smollm2 naive"
    assert found.text("general.description").startswith("smollm2-135m with LoRA adapter ")
    assert (found.number("general.file_type"), before.number("general.file_type")) == (15, 1)
    own = {"general.name", "general.description", "general.file_type"}
    assert {k: v for k, v in found.values.items() if k not in own} == {
        k: v for k, v in before.values.items() if k not in own}  # fmt: skip
    content = exported.gguf.path.read_bytes()
    assert (exported.gguf.digest, exported.gguf.size) == (hashlib.sha256(content).hexdigest(), len(content))
    assert exported.gguf.size < smollm2.gguf_f16.stat().st_size / 2
    assert exported.warnings == ()
    assert "2 prompts, 48 tokens" in exported.proof
    assert {path.name for path in exported.gguf.path.parent.iterdir()} == {
        "model-f16.gguf", "model-q4_k_m.gguf", "adapter.gguf", "Modelfile"}  # fmt: skip


def test_the_engine_serves_it_and_refuses_it_when_truncated(exported: Files, merged: Path, tmp_path: Path) -> None:
    served = Served("smollm2", exported.gguf.path, merged, exported.gguf.digest)
    with LlamaCpp(context=512).open(served) as session:
        assert session.generate([replace(PROMPTS[1], max_tokens=5)])[0].completion_tokens == 5
    content = exported.gguf.path.read_bytes()
    for size in (1000, len(content) // 2, len(content) - 1):
        cut = tmp_path / "cut.gguf"
        cut.write_bytes(content[:size])
        with pytest.raises(EngineError, match="truncated"), LlamaCpp().open(replace(served, gguf=cut)):
            pass


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> BaseModel:
    return tiny_base(tmp_path_factory.mktemp("tiny") / "base")


@pytest.mark.parametrize(("option", "files"), [
    (Export(quantization="f16", adapter=False, modelfile=False), "model-f16.gguf"),
    (Export(quantization="q8_0", adapter=False), "Modelfile model-q8_0.gguf"),
    (Export(quantization="q8_0", keep_f16=True, modelfile=False), "adapter.gguf model-f16.gguf model-q8_0.gguf"),
], ids=str)  # fmt: skip
def test_the_folder_holds_what_was_asked_for(option: Export, files: str, tiny: BaseModel, tmp_path: Path) -> None:
    adapter = random_adapter(tiny, tmp_path / "adapter")
    merged = merge(adapter, tiny, tmp_path / "merged")
    for _ in range(2):  # again into the same folder
        done = option.export(merged, tiny, adapter, PROMPTS, tmp_path / "out", "tiny")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == files.split()
    assert done.gguf.path.name == f"model-{option.quantization}.gguf"
    assert (done.adapter_gguf is not None, done.modelfile is not None) == (option.adapter, option.modelfile)
    assert metadata_of(done.gguf.path)["general.file_type"] == {"f16": 1, "q8_0": 7}[option.quantization]


def test_matrices_are_quantised_as_the_base_has_them(tiny: BaseModel, tmp_path: Path) -> None:
    q4_1, q5_0, q8_0 = 3, 6, 8
    types = {"token_embd.weight": q5_0, "blk.0.ffn_up.weight": q4_1, "blk.1.attn_v.weight": q5_0}
    like = tmp_path / "like.gguf"
    quantize(tiny.gguf_f16, like, "q8_0", types)
    found = read_header(like).tensors
    assert {name: type_ for name, (shape, type_, _) in found.items() if len(shape) > 1 and type_ != q8_0} == types

    base, option = replace(tiny, gguf=like), Export(quantization="q8_0", proof_prompts=0, modelfile=False)
    done = option.export(tiny.weights, base, None, [], tmp_path / "same", "untouched")
    again = read_header(done.gguf.path)
    assert again.tensors == found
    assert done.gguf.path.read_bytes()[again.data :] == like.read_bytes()[read_header(like).data :]

    option = replace(option, quantization="q4_k_m")  # of another kind than the base: llama.cpp's own choice
    other = read_header(option.export(tiny.weights, base, None, [], tmp_path / "other", "untouched").gguf.path)
    own = tmp_path / "own.gguf"
    quantize(tiny.gguf_f16, own, "q4_k_m", {})
    assert other.tensors == read_header(own).tensors != found


def test_what_llama_cpp_cannot_quantise_is_named(tiny: BaseModel, tmp_path: Path) -> None:
    (tmp_path / "cut.gguf").write_bytes(tiny.gguf_f16.read_bytes()[:-5000])
    with pytest.raises(ModelError, match=r"cut\.gguf: cannot be written as q8_0: .*(fail|bound|corrupt)"):
        quantize(tmp_path / "cut.gguf", tmp_path / "out.gguf", "q8_0", {})
    assert not list(tmp_path.glob("out*"))


def test_without_an_adapter_the_base_is_exported(tiny: BaseModel, tmp_path: Path) -> None:
    done = Export(quantization="f16", proof_prompts=0).export(tiny.weights, tiny, None, PROMPTS, tmp_path, "the base")
    assert done.adapter_gguf is None
    assert "not compared" in done.proof
    assert metadata_of(done.gguf.path)["general.description"] == "tiny-qwen2"


def test_an_export_that_fails_its_proof_leaves_nothing(tiny: BaseModel, tmp_path: Path) -> None:
    other = shutil.copytree(tiny.weights, tmp_path / "other")
    (other / "chat_template.jinja").write_text("{{ messages[1]['content'] }}")
    with pytest.raises(ModelError, match=r"merged model 'What is a lifetime\?'"):  # the shortest of the prompts
        Export(quantization="f16", proof_prompts=1).export(other, tiny, None, PROMPTS, tmp_path / "out", "wrong")
    assert list((tmp_path / "out").iterdir()) == []


def test_weights_of_another_model_are_refused(tiny: BaseModel, merged: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="do not have the names and shapes"):
        Export().export(merged, tiny, None, PROMPTS, tmp_path, "wrong")
    assert list(tmp_path.iterdir()) == []


def test_a_base_whose_forms_differ_is_refused(tiny: BaseModel, tmp_path: Path) -> None:
    adapter = random_adapter(tiny, tmp_path / "adapter")
    merged = merge(adapter, tiny, tmp_path / "merged")
    header, content = read_header(tiny.gguf_f16), bytearray(tiny.gguf_f16.read_bytes())
    content[header.data + header.tensors["blk.1.attn_k.weight"][2]] ^= 1
    (tmp_path / "f16.gguf").write_bytes(content)
    with pytest.raises(ModelError, match=r"blk\.1\.attn_k\.weight does not hold the values of"):
        Export().export(merged, replace(tiny, gguf_f16=tmp_path / "f16.gguf"), adapter, [], tmp_path / "out", "wrong")
    assert list((tmp_path / "out").iterdir()) == []


def test_no_room_is_said_before_anything_is_written(
    tiny: BaseModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10, 9, 1))
    with pytest.raises(DiskError, match="GB are free"):
        Export().export(tiny.weights, tiny, None, PROMPTS, tmp_path, "none")
    assert list(tmp_path.iterdir()) == []


def test_headers_are_read_and_written_to_the_byte(tiny: BaseModel, tmp_path: Path) -> None:
    import gguf

    header, content = read_header(tiny.gguf_f16), tiny.gguf_f16.read_bytes()
    assert header.packed() == content[: header.data]
    reader = gguf.GGUFReader(tiny.gguf_f16)
    assert header.data == reader.data_offset
    assert header.text("tokenizer.chat_template") == reader.fields["tokenizer.chat_template"].contents()
    assert header.text("general.author") == ""
    assert header.number("qwen2.block_count") == 2
    for size in (0, 3, 20, 500, header.data // 2):
        (tmp_path / "cut.gguf").write_bytes(content[:size])
        with pytest.raises(ModelError, match="damaged, truncated"):
            read_header(tmp_path / "cut.gguf")
    (tmp_path / "zip.gguf").write_bytes(b"PK\3\4" + content)
    with pytest.raises(ModelError, match="begins with"):
        read_header(tmp_path / "zip.gguf")
