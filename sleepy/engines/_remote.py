"""What servers that take plain text need from us: the model's chat template, and a look at what they counted."""

from __future__ import annotations

from pathlib import Path

from sleepy.artifacts import Prompt, Served
from sleepy.errors import EngineError

_files: dict[str, Path] = {}  # server -> the file that it is taken to serve


def hold_to(server: str, model: Served) -> None:
    """Raises EngineError when this process took `server` for another file before: it cannot have changed meanwhile, and
    a model compared with itself would look like training without effect."""
    first = _files.setdefault(server, model.gguf)
    if first != model.gguf:
        raise EngineError(
            f"found {server} taken for {first}, and now for {model.gguf}: it cannot have changed by itself. Measure a "
            "result with engine=llama_cpp or engine=ollama, which load the file; or serve the file and give a run of "
            "its own `model=hub model.path=<file> stages=[fetch,prove,baseline]`"
        )


class Wording:
    """The chat template and the tokenizer of a model."""

    def __init__(self, model: Served) -> None:
        """Raises EngineError when the tokenizer cannot be loaded."""
        from transformers import AutoTokenizer

        try:
            self._tokenizer = AutoTokenizer.from_pretrained(model.weights)
        except (OSError, ValueError) as error:
            raise EngineError(f"transformers cannot load the tokenizer of {model.weights}: {error}") from error
        self._model = model
        first = self._tokenizer("a").input_ids[:1]
        self._begin = self._tokenizer.bos_token if first == [self._tokenizer.bos_token_id] else ""

    def text(self, prompt: Prompt) -> str:
        """The prompt and the beginning of the answer, without the token that servers put before every text."""
        head = self._tokenizer.apply_chat_template(list(prompt.messages), tokenize=False, add_generation_prompt=True)
        return str(head).removeprefix(self._begin) + prompt.prefill

    def tokens(self, text: str) -> int:
        """How many tokens a text has."""
        return len(self._tokenizer(text, add_special_tokens=False).input_ids)

    def check(self, text: str, counted: int, server: str) -> None:
        """Raises EngineError when `server` counted another number of tokens in `text` than it has: some servers cut off
        what is too long for them without a word, and one of another model family knows other tokens."""
        own = self.tokens(text)
        if abs(own - counted) > 2 + own // 100:
            raise EngineError(
                f"{server} counted {counted} tokens in a prompt, {self._model.name} has {own} for it: it serves "
                f"another model, or cuts prompts off. Let it serve {self._model.gguf} with a larger context"
            )
