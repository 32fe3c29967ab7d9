"""A Modelfile for Ollama, for models whose chat template is ChatML or that of Llama 3.

Ollama's templates are of another kind (Go's text/template), and one that is not quite the model's own gives gibberish.
So only formats that are known in both kinds are written, and only when the tokenizer's own template says the same.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from sleepy.errors import ModelError
from sleepy.files import read_json
from sleepy.gguf.llama import header

_Messages = list[dict[str, str]]
_FORMATS = (  # what stands before and after a message
    ("<|im_start|>{role}\n", "<|im_end|>\n"),
    ("<|start_header_id|>{role}<|end_header_id|>\n\n", "<|eot_id|>"),
)
_CODE = 'fn main() {\n    let x = "{{ .Content }} \'größe\'";\n\n\tprintln!("{x:>8}"); // 😀\n}'
_PROBES = (("user",), ("system", "user"), ("user", "assistant", "user"), ("system", "user", "assistant", "user"))


def modelfile(weights: Path, gguf: Path) -> str:
    """The text of a Modelfile for `gguf`, a file beside it, from the tokenizer in folder `weights`.

    Raises ModelError when the chat template is of another kind.
    """
    from jinja2 import TemplateError
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(weights)
    begin = _begin(gguf, tokenizer)

    def chat(messages: _Messages) -> str:
        try:
            text = str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))
        except TemplateError as error:
            raise ModelError(f"the chat template refuses a conversation ({error})") from error
        if not text.startswith(begin):
            raise ModelError(f"llama.cpp begins every prompt with {begin!r}, but the chat template does not")
        return text.removeprefix(begin)

    for before, after in _FORMATS:
        system = _system(chat, before, after)
        if system is not None:
            turn = before.format(role="{{ .Role }}") + "{{ .Content }}" + after
            template = f"{{{{ range .Messages }}}}{turn}{{{{ end }}}}{before.format(role='assistant')}"
            lines = [f"FROM ./{gguf.name}", f'TEMPLATE """{template}"""']
            lines += [f'SYSTEM """{system}"""'] if system else []
            lines += [f'PARAMETER stop "{word}"' for word in stop_words(tokenizer, weights)]
            return "\n".join(lines) + "\n"
    raise ModelError("the chat template is neither ChatML nor Llama 3's. Ollama needs a TEMPLATE written by hand")


def _system(chat: Callable[[_Messages], str], before: str, after: str) -> str | None:
    """The system message that the chat template adds where there is none ("" if it adds none).

    None when it writes a conversation in any other way than each message between `before` and `after`.
    """

    def written(messages: _Messages) -> str:
        turns = [before.format(role=m["role"]) + m["content"] + after for m in messages]
        return "".join(turns) + before.format(role="assistant")

    probes = [[{"role": role, "content": f"{i} {_CODE}"} for i, role in enumerate(roles)] for roles in _PROBES]
    added = chat(probes[0]).removesuffix(written(probes[0]))
    system = added.removeprefix(before.format(role="system")).removesuffix(after)
    first = [{"role": "system", "content": system}] if system else []
    for messages in probes:
        if chat(messages) != written(messages if messages[0]["role"] == "system" else [*first, *messages]):
            return None
    return None if '"""' in system else system


def stop_words(tokenizer: Any, weights: Path) -> list[str]:
    """The tokens that end an answer: the tokenizer's, and those of the generation config that ordinary text cannot
    contain (llama.cpp also counts an ordinary `</s>` among them, at which a program must not be cut)."""
    ends = read_json(weights / "generation_config.json").get("eos_token_id")
    ids = [tokenizer.eos_token_id, *(ends if isinstance(ends, list) else [ends])]
    added = tokenizer.added_tokens_decoder
    return list(dict.fromkeys(str(added[i]) for i in ids if i in added))


def _begin(gguf: Path, tokenizer: Any) -> str:
    """The text of the token that llama.cpp puts before every prompt; "" for none."""
    import llama_cpp

    with header(gguf) as model:
        vocab = llama_cpp.llama_model_get_vocab(model)
        if not llama_cpp.llama_vocab_get_add_bos(vocab):
            return ""
        return str(tokenizer.convert_ids_to_tokens(llama_cpp.llama_vocab_bos(vocab)))
