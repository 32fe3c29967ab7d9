"""Any server that speaks OpenAI's protocol: llama-server, vLLM, llama-cpp-python's server, and so on."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Any, ClassVar

from sleepy.artifacts import Completion, Prompt, Served
from sleepy.engines._server import Server, Template
from sleepy.engines.engine import NONE_KNOWN, Done, Engine, Known, ignore, rooms, up_to_stop
from sleepy.errors import EngineError
from sleepy.gguf.header import read_header
from sleepy.options import ranged
from sleepy.rust.length import at_most_tokens

_ROUNDED = 0.01  # by so much may a number that a server tells differ from the file's
_URL = re.compile(r"https?://(\[[\da-fA-F:.]+\]|[^/@?:\[\s]+)(:\d+)?(/[^@?\s]*)?")


@dataclass(frozen=True, kw_only=True)
class OpenAI(Engine):
    """Asks whatever the server serves. That must be the file under evaluation: no file can be loaded into a server from
    here.

    base_url: the address of the API, which usually ends in /v1.
    model: the name of the model on the server. "" takes the only one that the server lists.
    key_variable: the environment variable that holds the key, if the server wants one. The key is never recorded.
    chat: false renders the chat template here and asks /completions to continue the text. true asks
        /chat/completions, where the server renders, and looks for the beginning of the answer in its reply.
    timeout: seconds to wait for an answer (above 0, to 86400).
    retries: how often a request is repeated, with growing pauses or as the server asks (0 to 20).
    parallel: how many requests are sent at once. Several sequences in one batch may change an answer slightly (1 to
        256).
    extra: further fields of each request. null leaves a field out, even one of the protocol.
    """

    base_url: str = "http://localhost:8080/v1"
    model: str = ""
    key_variable: str = "OPENAI_API_KEY"
    chat: bool = False
    timeout: float = ranged(300.0, above=0, at_most=86400)
    retries: int = ranged(4, at_least=0, at_most=20)
    parallel: int = ranged(1, at_least=1, at_most=256)
    extra: dict[str, Any] = field(
        default_factory=lambda: {"top_k": 0, "min_p": 0.0, "repeat_penalty": 1.0, "repetition_penalty": 1.0}
    )

    loads: ClassVar[bool] = False
    reads_gguf: ClassVar[bool] = False
    hot: ClassVar[bool] = False
    known_weights: ClassVar[bool] = False  # tomorrow another model may be served at this address
    no_effect: ClassVar[tuple[str, ...]] = ("key_variable", "timeout", "retries")

    def problems(self) -> list[str]:
        """What the fields' own bounds cannot express. The value is not shown: it may hold a password."""
        if _URL.fullmatch(self.base_url):
            return []
        return [
            "base_url must be a URL such as http://localhost:8080/v1, without user name, password or query. Put a key "
            "into the environment variable that engine.key_variable names"
        ]

    @contextmanager
    def open(self, model: Served) -> Iterator[OpenAISession]:
        """See Engine.open. Raises EngineError for a server that says it has another model, and for a second file: the
        server cannot have changed by itself, and comparing a model with itself would look like training without
        effect."""
        first = self._files.setdefault("first", model.gguf)
        if first != model.gguf:
            raise EngineError(
                f"The server at {self.base_url} is assumed to serve {first}, so it cannot answer for {model.gguf}. Use "
                "engine=llama_cpp or engine=ollama, which load the file; or serve that file and measure it in a run of "
                "its own: model=hub model.path=<file> stages=[fetch,prove,baseline]"
            )
        with closing(self._server()) as server:
            name = self.model or _only(server)
            self._hold_against(model.gguf, name)
            yield OpenAISession(self, server, name, None if self.chat else Template(model))

    def identity(self) -> dict[str, object]:
        """See Engine.identity. Asks the server for the model's name if the config does not give it."""
        with closing(self._server()) as server:
            return {**super().identity(), "base_url": server.url, "model": self.model or _only(server)}

    @cached_property
    def _files(self) -> dict[str, Path]:
        """The first file that was asked for, under "first". Not a field: it is no option."""
        return {}

    def _server(self, retries: int | None = None) -> Server:
        return Server(self.base_url, self.key_variable, self.timeout, self.retries if retries is None else retries)

    def _hold_against(self, file: Path, name: str) -> None:
        """Raises EngineError when the server's list says of the model `name` that it is not `file`: llama-server tells
        the number of its parameters and its size. Other servers tell nothing of the kind, or have no list."""
        if not file.is_file() or "split.count" in (header := read_header(file)).values:
            return
        try:
            with closing(self._server(retries=0)) as server:
                told = _listed(server).get(name, {}).get("meta")
        except EngineError:
            return
        parameters = sum(math.prod(shape) for shape, _, _ in header.tensors.values())
        size = file.stat().st_size
        for key, what, low, high in (
            ("n_params", "parameters", parameters, parameters), ("size", "bytes", size - header.data, size),
        ):  # fmt: skip
            found = told.get(key) if isinstance(told, dict) else None
            if isinstance(found, int | float) and not (1 - _ROUNDED) * low <= found <= (1 + _ROUNDED) * high:
                raise EngineError(
                    f"{self.base_url} says that {name} has {found:,} {what}, but {file} has {high:,}: it serves "
                    "another model. Let it serve this file, or choose its model with model="
                )


def _listed(server: Server) -> dict[str, dict[str, Any]]:
    """What a server says of each model that it lists, by name."""
    answer = server.ask("/models")
    try:
        return {str(model["id"]): dict(model) for model in answer["data"]}
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise EngineError(f"{server.url}/models lists no models ({server.shown(answer)}): set engine.model") from error


def _only(server: Server) -> str:
    """The name of the one model that a server lists; adapters, which vLLM lists with their parent, do not count."""
    names = [name for name, model in _listed(server).items() if not model.get("parent")]
    if len(names) != 1:
        raise EngineError(f"{server.url} lists {len(names)} models ({', '.join(names)}): choose one with engine.model")
    return names[0]


class OpenAISession:
    """A server and the model on it that answers."""

    def __init__(
        self, options: OpenAI, server: Server, model: str, template: Template | None, context: int | None = None
    ) -> None:
        """`context`: tokens a prompt and its answer may have together, for servers that cut prompts off silently."""
        self._options, self._server, self._model, self._template = options, server, model, template
        self._context = context

    def generate(self, prompts: Sequence[Prompt], done: Done = ignore, known: Known = NONE_KNOWN) -> list[Completion]:
        """See Session.generate. Prompts that name an adapter are answered by the server's model of that name."""
        adapters = {p.adapter for p in prompts if p.adapter}
        if missing := ", ".join(sorted(adapters - _listed(self._server).keys())) if adapters else "":
            raise EngineError(
                f"{self._server.url} does not list the adapter {missing}: load it there under that name (vLLM: "
                "--lora-modules), or use engine=llama_cpp"
            )
        texts = [self._template.text(prompt) if self._template else "" for prompt in prompts]
        # without a template the tokenizer is the server's own
        count = self._template.tokens if self._template else at_most_tokens
        longest = rooms(prompts, list(map(count, texts)), count, self._context)
        asked = [
            (i, prompt, self._fields(prompt, texts[i], longest[i]))
            for i, prompt in enumerate(prompts)
            if i not in known
        ]
        answers = dict(known)
        # Its threads are daemons: neither Ctrl-C nor a failed request waits for answers that are no longer needed.
        with ThreadPool(self._options.parallel) as pool:
            for index, answer in pool.imap_unordered(self._complete, asked):
                if self._template:
                    self._template.check(texts[index], answer.prompt_tokens, self._server.url)
                answers[index] = answer
                done(index, answer)
        return [answers[i] for i in range(len(prompts))]

    def _fields(self, prompt: Prompt, text: str, longest: int) -> dict[str, Any]:
        """The body of the request for a prompt, which is `text` in the model's template if that is used here."""
        fields: dict[str, Any] = {
            "model": prompt.adapter or self._model,
            "temperature": prompt.temperature,
            "top_p": 1.0,
            "seed": prompt.seed % 2**31,
        }
        if self._template:
            fields |= {"prompt": text, "max_tokens": longest, "stop": list(prompt.stop) or None}
        else:  # no stop, which may also stand before the program; and the beginning of the answer is generated as well
            fields |= {"messages": list(prompt.messages), "max_tokens": longest + at_most_tokens(prompt.prefill)}
        return {k: v for k, v in (fields | self._options.extra).items() if v is not None}

    def _complete(self, request: tuple[int, Prompt, dict[str, Any]]) -> tuple[int, Completion]:
        """A prompt's index and the answer to it."""
        start, (index, prompt, fields) = time.perf_counter(), request
        path = "/completions" if self._template else "/chat/completions"
        reply = self._server.ask(path, fields)
        try:
            choice, usage = reply["choices"][0], reply["usage"]
            text = choice["text"] if self._template else _after(choice["message"]["content"] or "", prompt.prefill)
            given, made = int(usage["prompt_tokens"]), int(usage["completion_tokens"])
            text, stopped = up_to_stop(text, prompt.stop)
            cut = not stopped and choice.get("finish_reason") == "length"
            return index, Completion(text, given, made, time.perf_counter() - start, cut)
        except (AttributeError, KeyError, IndexError, TypeError, ValueError) as error:
            raise EngineError(
                f"{self._server.url}{path} did not answer with a completion and its number of tokens, but with: "
                f"{self._server.shown(reply)}. Is it an OpenAI-compatible server?"
            ) from error


def _after(text: str, prefill: str) -> str:
    """An answer without its required beginning, and without what the model said before that."""
    return text.partition(prefill)[2] if prefill and prefill in text else text
