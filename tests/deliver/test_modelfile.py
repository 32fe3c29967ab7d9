"""Ollama's template says what the chat template says, or there is none."""

from __future__ import annotations

import json
import shutil
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sleepy.artifacts import BaseModel
from sleepy.deliver.export import Exported, Gguf
from sleepy.deliver.modelfile import derive, modelfile, render, stop_words
from sleepy.errors import ModelError
from sleepy.gguf.header import read_header
from tests.adapters.made import tiny_base

SMOLLM2 = '''FROM ./model-q4_k_m.gguf
TEMPLATE """{{ if not .System }}<|im_start|>system
You are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>
{{ end }}{{ range .Messages }}{{ if eq .Role "system" }}<|im_start|>system
{{ .Content }}<|im_end|>
{{ else if eq .Role "user" }}<|im_start|>user
{{ .Content }}<|im_end|>
{{ else if eq .Role "assistant" }}<|im_start|>assistant
{{ .Content }}<|im_end|>
{{ end }}{{ end }}<|im_start|>assistant
"""
PARAMETER stop "<|im_end|>"
PARAMETER stop "<|endoftext|>"
PARAMETER stop "<reponame>"
'''
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
ZEPHYR = (
    "{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}</s>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)
LLAMA3 = (
    "{% for m in messages %}<|start_header_id|>{{ m.role }}<|end_header_id|>\n\n{{ m.content | trim }}<|eot_id|>"
    "{% endfor %}{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)
DEEPSEEK = (
    "{% if messages[0].role != 'system' %}You are an AI.\n{% endif %}{% for m in messages %}"
    "{% if m.role == 'system' %}{{ m.content }}{% elif m.role == 'user' %}### Instruction:\n{{ m.content }}\n"
    "{% else %}### Response:\n{{ m.content }}\n<|EOT|>\n{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}### Response:\n{% endif %}"
)
MISTRAL = (
    "{% for m in messages %}{% if m.role == 'user' %}[INST] "
    "{% if loop.index0 == 1 and messages[0].role == 'system' %}{{ messages[0].content }}\n\n{% endif %}"
    "{{ m.content }} [/INST]{% elif m.role == 'assistant' %} {{ m.content }}</s>{% endif %}{% endfor %}"
)
FORGETFUL = CHATML.replace("{{ m.content }}", "{% if loop.revindex < 5 %}{{ m.content }}{% endif %}")
NUMBERED = CHATML.replace("{{ m.role }}", "{{ m.role }} {{ loop.index }}")
CUT, TWICE = CHATML.replace("m.content", "m.content[1:]"), CHATML.replace("{{ m.content }}", "{{ m.content }}" * 2)
STRICT = "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}" + CHATML
BRACES = CHATML.replace("<|im_end|>", "{{ '{{' }}")
QUOTES = CHATML.replace("<|im_end|>", '"""')


def chat_of(template: str) -> Callable[[Any, bool], str]:
    import jinja2

    compiled = jinja2.Environment().from_string(template)
    return lambda messages, answer: compiled.render(messages=messages, add_generation_prompt=answer)


def test_the_modelfile_of_smollm2(exported: Exported) -> None:
    assert exported.modelfile is not None
    assert exported.modelfile.read_text() == SMOLLM2


words = st.text(st.characters(codec="utf-8"), min_size=1).filter(lambda text: text == text.strip())


@pytest.mark.parametrize("template", [CHATML, ZEPHYR, LLAMA3, DEEPSEEK], ids=["chatml", "zephyr", "llama3", "deepseek"])
@given(system=st.one_of(st.just(""), words), turns=st.lists(words, min_size=1, max_size=6))
def test_a_derived_template_says_what_the_chat_template_says(template: str, system: str, turns: list[str]) -> None:
    chat = chat_of(template)
    messages = [{"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(turns)]
    if system:
        messages.insert(0, {"role": "system", "content": system})
    assert render(derive(chat), messages) == chat(messages, True)


@pytest.mark.parametrize(("template", "words"), [
    (MISTRAL, "between messages"), (NUMBERED, "between messages"), (CUT, "changes"), (TWICE, "repeats"),
    (BRACES, "mean something to Ollama"), (QUOTES, "mean something to Ollama"),
], ids=["mistral", "numbered", "cut", "twice", "braces", "quotes"])  # fmt: skip
def test_a_template_that_is_too_special_is_refused(template: str, words: str) -> None:
    with pytest.raises(ModelError, match=words):
        derive(chat_of(template))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> BaseModel:
    return tiny_base(tmp_path_factory.mktemp("tiny") / "base")


@pytest.mark.parametrize(("template", "words"), [
    (FORGETFUL, "says something else in a conversation of"), (STRICT, r"refuses .*no system"),
], ids=["forgetful", "no system"])  # fmt: skip
def test_no_modelfile_is_a_warning_with_the_reason(template: str, words: str, tiny: BaseModel, tmp_path: Path) -> None:
    special = shutil.copytree(tiny.weights, tmp_path / "special")
    (special / "chat_template.jinja").write_text(template)
    done = Gguf(quantization="f16", proof_prompts=0).export(special, tiny, None, [], tmp_path / "out", "special")
    assert done.modelfile is None
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["model-f16.gguf"]
    (warning,) = done.warnings
    with pytest.raises(ModelError, match=words):
        raise ModelError(warning)
    assert warning.startswith("no Modelfile was written: the")


def test_a_token_that_llama_cpp_puts_first_is_not_put_twice(tiny: BaseModel, tmp_path: Path) -> None:
    header = read_header(tiny.gguf_f16)
    values = {**header.values, "tokenizer.ggml.add_bos_token": struct.pack("<I?", 7, True)}
    file, weights = tmp_path / "begins.gguf", shutil.copytree(tiny.weights, tmp_path / "weights")
    file.write_bytes(replace(header, values=values).packed() + tiny.gguf_f16.read_bytes()[header.data :])
    with pytest.raises(ModelError, match=r"begins every prompt with '<\|endoftext\|>', the chat template does not"):
        modelfile(weights, file)
    (weights / "chat_template.jinja").write_text("{{ bos_token }}" + CHATML)
    assert modelfile(weights, file).split('"""')[1].startswith("{{ range .Messages }}")
    assert modelfile(weights, tiny.gguf_f16).split('"""')[1].startswith("{{ if not .System }}<|endoftext|>{{ end }}")


def test_stop_words_are_ends_that_text_cannot_contain(tiny: BaseModel, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    weights = shutil.copytree(tiny.weights, tmp_path / "weights")
    tokenizer = AutoTokenizer.from_pretrained(weights)
    path = weights / "generation_config.json"
    config = json.loads(path.read_text())
    ids = {word: i for word, i in json.loads((weights / "tokenizer.json").read_text())["model"]["vocab"].items()}
    path.write_text(json.dumps({**config, "eos_token_id": [ids["let"], ids["<|endoftext|>"]]}))
    assert stop_words(tokenizer, weights) == ["<|im_end|>", "<|endoftext|>"]
    path.unlink()
    assert stop_words(tokenizer, weights) == ["<|im_end|>"]
