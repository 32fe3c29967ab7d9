"""Ollama's Modelfile, with template and stop tokens taken from the tokenizer.

Ollama has templates of its own kind (Go's text/template). One is derived by asking the chat template for conversations
of known words and reading off what stands between them; it counts only if it then says the same as the chat template.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sleepy.errors import ModelError
from sleepy.gguf.llama import header

_Messages = Sequence[Mapping[str, str]]
_SYSTEM, _USER, _ANSWER, _AGAIN = "TheSystemsWords", "TheFirstQuestion", "TheAnswer", "TheSecondQuestion"
_CODE = 'fn main() {\n    let x = "{{ .Content }} \'größe\'";\n\n\tprintln!("{x:>8}"); // 😀\n}'


def modelfile(weights: Path, gguf: Path) -> str:
    """The text of a Modelfile for `gguf`, a file beside it, from the tokenizer in folder `weights`.

    Raises ModelError with the reason when the chat template is too special for a derived one to say the same.
    """
    from jinja2 import TemplateError
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(weights)
    begin = _begin(gguf, tokenizer.convert_ids_to_tokens)

    def chat(messages: _Messages, answer: bool) -> str:
        try:
            text = str(tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=answer))
        except TemplateError as error:
            raise ModelError(f"the chat template refuses a conversation of {_roles(messages)} ({error})") from error
        if not text.startswith(begin):
            raise ModelError(f"llama.cpp begins every prompt with {begin!r}, the chat template does not")
        return text.removeprefix(begin)

    template = derive(chat)
    for messages in _conversations():
        if render(template, messages) != chat(messages, True):
            raise ModelError(
                "the template derived from the chat template says something else in a conversation of "
                f"{_roles(messages)}"
            )
    lines = [f"FROM ./{gguf.name}", f'TEMPLATE """{template}"""']
    return "\n".join([*lines, *(f'PARAMETER stop "{word}"' for word in stop_words(tokenizer, weights))]) + "\n"


def derive(chat: Callable[[_Messages, bool], str]) -> str:
    """The Go template that says what `chat(messages, answer)` does, `answer` being whether the assistant's turn begins.

    Messages are taken without blank space at their ends, which some chat templates strip. Raises ModelError when the
    pieces between the messages are not always the same.
    """
    asked, answered = _talk("", _USER), _talk("", _USER, _ANSWER)
    start, to_answer = _between(chat(asked, True), _USER)
    first, from_system, _ = _between(chat(_talk(_SYSTEM, _USER), True), _SYSTEM, _USER)
    _, to_assistant, to_again, _ = _between(chat(_talk("", _USER, _ANSWER, _AGAIN), True), _USER, _ANSWER, _AGAIN)
    after = {
        "user": _between(chat(asked, False), _USER)[1],
        "assistant": _between(chat(answered, False), _USER, _ANSWER)[2],
    }
    before = {
        "system": first,
        "user": _without(to_again, after["assistant"]),
        "assistant": _without(to_assistant, after["user"]),
    }
    after["system"] = _without(from_system, "", before["user"])
    default = _without(start, "", before["user"])
    answer = _without(to_answer, after["user"])
    pieces = [default, answer, *before.values(), *after.values()]
    if any(sign in piece for piece in pieces for sign in ("{{", '"""')):
        raise ModelError('the chat template prints {{ or """, which mean something to Ollama')
    head = f"{{{{ if not .System }}}}{default}{{{{ end }}}}" if default else ""
    turns = "{{ else ".join(
        f'if eq .Role "{role}" }}}}{before[role]}{{{{ .Content }}}}{after[role]}' for role in before
    )
    return f"{head}{{{{ range .Messages }}}}{{{{ {turns}{{{{ end }}}}{{{{ end }}}}{answer}"


def render(template: str, messages: _Messages) -> str:
    """What Ollama makes of messages with a template of `derive`'s kind."""
    form = re.fullmatch(
        r"(?:\{\{ if not \.System \}\}(.*?)\{\{ end \}\})?"
        r"\{\{ range \.Messages \}\}\{\{ (.*?)\{\{ end \}\}\{\{ end \}\}(.*)",
        template,
        re.DOTALL,
    )
    if form is None:
        raise ValueError(f"not a derived template: {template}")
    default, turns, answer = form.groups(default="")
    says = dict(re.findall(r'if eq \.Role "(\w+)" \}\}(.*?)(?:\{\{ else |\Z)', turns, re.DOTALL))
    system = any(message["role"] == "system" and message["content"] for message in messages)
    turned = [says[message["role"]].replace("{{ .Content }}", message["content"]) for message in messages]
    return ("" if system else default) + "".join(turned) + answer


def stop_words(tokenizer: Any, weights: Path) -> list[str]:
    """The tokens that end an answer: the tokenizer's, and those of the generation config that ordinary text cannot
    contain (llama.cpp also counts an ordinary `</s>` among them, at which a program must not be cut)."""
    path = weights / "generation_config.json"
    ends = json.loads(path.read_text(encoding="utf-8")).get("eos_token_id") if path.is_file() else None
    ids = [tokenizer.eos_token_id, *(ends if isinstance(ends, list) else [ends])]
    added = tokenizer.added_tokens_decoder
    return list(dict.fromkeys(str(added[i]) for i in ids if i in added))


def _conversations() -> list[_Messages]:
    return [
        _talk(system, *words)
        for system in ("", "Be brief.", _CODE)
        for words in (["Hello"], [_CODE], ["a", "b", "c"], [_CODE, "```rust\n" + _CODE, "x", "y", "3"], ["a", "b"])
    ]


def _talk(system: str, *words: str) -> _Messages:
    """A conversation in which user and assistant take turns."""
    turns = [{"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(words)]
    return [{"role": "system", "content": system}, *turns] if system else turns


def _roles(messages: _Messages) -> str:
    return ", ".join(message["role"] for message in messages)


def _between(text: str, *words: str) -> list[str]:
    """What stands before, between and after `words`, each of which must be there once and in this order."""
    pieces = re.split("|".join(map(re.escape, words)), text)
    if re.findall("|".join(map(re.escape, words)), text) != list(words):
        raise ModelError(f"the chat template changes, repeats or leaves out messages: {text!r}")
    return pieces


def _without(text: str, start: str, end: str = "") -> str:
    """`text` between `start` and `end`, which must be there."""
    if not (text.startswith(start) and text.endswith(end) and len(text) >= len(start) + len(end)):
        raise ModelError(
            f"the chat template puts {text!r} between messages, expected it to begin with {start!r} and "
            f"to end with {end!r}, as elsewhere"
        )
    return text[len(start) : len(text) - len(end)]


def _begin(gguf: Path, words: Callable[[int], str]) -> str:
    """The text of the token that llama.cpp puts before every prompt; "" for none."""
    import llama_cpp

    with header(gguf) as model:
        vocab = llama_cpp.llama_model_get_vocab(model)
        return str(words(llama_cpp.llama_vocab_bos(vocab))) if llama_cpp.llama_vocab_get_add_bos(vocab) else ""
