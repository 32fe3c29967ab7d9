"""Ollama's template says what the chat template says, or there is none."""

from __future__ import annotations

import json
import shutil
import struct
from dataclasses import replace
from pathlib import Path

import pytest

from sleepy.artifacts import BaseModel
from sleepy.deliver.export import Export
from sleepy.deliver.modelfile import modelfile, stop_words
from sleepy.errors import ModelError
from sleepy.gguf.header import read_header
from tests.adapters.made import tiny_base

SMOLLM2 = '''FROM ./SmolLM2-135M-Instruct.Q4_1.gguf
TEMPLATE """{{ range .Messages }}<|im_start|>{{ .Role }}
{{ .Content }}<|im_end|>
{{ end }}<|im_start|>assistant
"""
SYSTEM """You are a helpful AI assistant named SmolLM, trained by Hugging Face"""
PARAMETER stop "<|im_end|>"
PARAMETER stop "<|endoftext|>"
PARAMETER stop "<reponame>"
'''
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
LLAMA3 = (
    "{% for m in messages %}<|start_header_id|>{{ m.role }}<|end_header_id|>\n\n{{ m.content | trim }}<|eot_id|>"
    "{% endfor %}{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)
ZEPHYR = CHATML.replace("<|im_start|>", "<|").replace("<|im_end|>", "</s>")
FORGETFUL = CHATML.replace("{{ m.content }}", "{% if loop.revindex < 3 %}{{ m.content }}{% endif %}")
DATED = "<|im_start|>system\nToday is Monday.<|im_end|>\n" + CHATML  # also where there is a system message
QUOTES = '{% if messages[0].role != \'system\' %}<|im_start|>system\n"""<|im_end|>\n{% endif %}' + CHATML
STRICT = "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}" + CHATML


@pytest.fixture
def weights(tiny: BaseModel, tmp_path: Path) -> Path:
    return shutil.copytree(tiny.weights, tmp_path / "weights")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> BaseModel:
    return tiny_base(tmp_path_factory.mktemp("tiny") / "base")


def test_the_modelfile_of_smollm2(smollm2: BaseModel) -> None:
    assert modelfile(smollm2.weights, smollm2.gguf.with_name("SmolLM2-135M-Instruct.Q4_1.gguf")) == SMOLLM2


def test_llama_3(tiny: BaseModel, weights: Path) -> None:
    (weights / "chat_template.jinja").write_text(LLAMA3)
    assert modelfile(weights, tiny.gguf_f16).split('"""')[1::2] == [
        "{{ range .Messages }}<|start_header_id|>{{ .Role }}<|end_header_id|>\n\n{{ .Content }}<|eot_id|>{{ end }}"
        "<|start_header_id|>assistant<|end_header_id|>\n\n"
    ]  # and no system message


@pytest.mark.parametrize(("template", "words"), [
    (ZEPHYR, "neither ChatML"), (FORGETFUL, "neither ChatML"), (DATED, "neither ChatML"), (QUOTES, "neither ChatML"),
    (STRICT, r"refuses a conversation \(no system\)"),
], ids=["zephyr", "forgetful", "dated", "quotes", "no system"])  # fmt: skip
def test_another_template_is_refused(template: str, words: str, tiny: BaseModel, weights: Path) -> None:
    (weights / "chat_template.jinja").write_text(template)
    with pytest.raises(ModelError, match=words):
        modelfile(weights, tiny.gguf_f16)


def test_no_modelfile_is_a_warning_with_the_reason(tiny: BaseModel, weights: Path, tmp_path: Path) -> None:
    (weights / "chat_template.jinja").write_text(ZEPHYR)
    done = Export(quantization="f16", proof_prompts=0).export(weights, tiny, None, [], tmp_path / "out", "special")
    assert done.modelfile is None and [path.name for path in (tmp_path / "out").iterdir()] == ["model-f16.gguf"]
    assert done.warnings[0].startswith("no Modelfile was written: the chat template is neither")


def test_a_token_that_llama_cpp_puts_first_is_not_put_twice(tiny: BaseModel, weights: Path, tmp_path: Path) -> None:
    header = read_header(tiny.gguf_f16)
    values = {**header.values, "tokenizer.ggml.add_bos_token": struct.pack("<I?", 7, True)}
    file = tmp_path / "begins.gguf"
    file.write_bytes(replace(header, values=values).packed() + tiny.gguf_f16.read_bytes()[header.data :])
    with pytest.raises(ModelError, match=r"begins every prompt with '<\|endoftext\|>', but the chat template does not"):
        modelfile(weights, file)
    (weights / "chat_template.jinja").write_text("{{ bos_token }}" + CHATML)
    assert "endoftext" not in modelfile(weights, file).split('"""')[1]


def test_stop_words_are_ends_that_text_cannot_contain(weights: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(weights)
    path = weights / "generation_config.json"
    ids = json.loads((weights / "tokenizer.json").read_text())["model"]["vocab"]
    path.write_text(json.dumps({"eos_token_id": [ids["let"], ids["<|endoftext|>"]]}))
    assert stop_words(tokenizer, weights) == ["<|im_end|>", "<|endoftext|>"]
    path.unlink()
    assert stop_words(tokenizer, weights) == ["<|im_end|>"]
