"""Any server that speaks OpenAI's protocol: llama-server, vLLM, llama-cpp-python's server, and so on."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar
from urllib.parse import urlsplit

from sleepy.artifacts import Completion, Prompt, Served
from sleepy.engines._http import Server
from sleepy.engines._remote import Wording, hold_to
from sleepy.engines.engine import Done, cut, ignore
from sleepy.errors import EngineError
from sleepy.options import ranged


@dataclass(frozen=True, kw_only=True)
class OpenAI:
    """What the server serves is asked; it has to be the file under evaluation, which nobody here can load into it.

    base_url: where the protocol begins, usually with /v1 at its end.
    model: its name on the server; "" takes the only one that the server lists.
    key_variable: the environment variable with the key, if the server wants one. The key itself is never recorded.
    chat: false renders the chat template here and asks /completions to go on with the text; true asks
        /chat/completions, where the server renders, and looks for the answer's beginning in what it says.
    timeout: seconds to wait for an answer (above 0, to 86400).
    retries: how often a request is repeated, after 0.5, 1, 2, ... seconds or what the server asks for (0 to 20).
    parallel: requests at once (1 to 256). Several sequences in a batch may change an answer a little.
    extra: further fields of each request; null leaves one out, of the protocol's own fields too.
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

    def problems(self) -> list[str]:
        """What the fields' own bounds cannot say."""
        try:
            parts = urlsplit(self.base_url)
            sound = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        except ValueError:
            return ["base_url: found something that is no URL, expected one such as http://localhost:8080/v1"]
        if parts.username or parts.password or parts.query:
            return ["base_url: found a user name, password or query in it, expected a key in engine.key_variable alone"]
        return [] if sound else [f"base_url: found {self.base_url!r}, expected http://... or https://..."]

    @contextmanager
    def open(self, model: Served) -> Iterator[OpenAISession]:
        """See Engine.open."""
        server = self._server()
        name = self.model or _only(server)
        hold_to(f"{name} at {server.url}", model)
        yield OpenAISession(self, server, name, None if self.chat else Wording(model))

    def identity(self) -> dict[str, object]:
        """See Engine.identity. Asks the server for the model's name where the config leaves it to the server."""
        name = self.model or _only(self._server())
        how = {"chat": self.chat, "parallel": self.parallel, "extra": self.extra}
        return {"engine": "openai", "base_url": self.base_url.rstrip("/"), "model": name, **how}

    def _server(self) -> Server:
        return Server(self.base_url, self.key_variable, self.timeout, self.retries)


def _listed(server: Server) -> list[dict[str, Any]]:
    """The models that a server lists."""
    found = server.ask("/models")
    models = found.get("data")
    if not isinstance(models, list) or not all(isinstance(m, dict) and isinstance(m.get("id"), str) for m in models):
        raise EngineError(f"{server.url}/models: found {server.shown(found)}, expected models: name engine.model")
    return models


def _only(server: Server) -> str:
    """The name of the one model that a server lists; vLLM lists its adapters too, with their parent."""
    names = [str(m["id"]) for m in _listed(server) if not m.get("parent")]
    if len(names) != 1:
        listed = ", ".join(names) or "none"
        raise EngineError(f"{server.url} lists {len(names)} models ({listed}), expected one: choose with engine.model")
    return names[0]


class OpenAISession:
    """A server and the model on it that answers."""

    def __init__(self, options: OpenAI, server: Server, model: str, wording: Wording | None) -> None:
        self._options, self._server, self._model, self._wording = options, server, model, wording

    def generate(self, prompts: Sequence[Prompt], done: Done = ignore) -> list[Completion]:
        """See Session.generate. Prompts that name an adapter are answered by the server's model of that name."""
        self._check_adapters({p.adapter for p in prompts if p.adapter})
        texts = [self._wording.text(p) if self._wording else "" for p in prompts]
        calls = [partial(self._complete, p, text) for p, text in zip(prompts, texts, strict=True)]
        found: dict[int, Completion] = {}
        with closing(_each(calls, self._options.parallel)) as completions:
            for place, completion in completions:
                if self._wording:
                    self._wording.check(texts[place], completion.prompt_tokens, self._server.url)
                found[place] = completion
                done(place, completion)
        return [found[i] for i in range(len(prompts))]

    def _check_adapters(self, names: set[str]) -> None:
        listed = {m["id"] for m in _listed(self._server)} if names else set()
        if names - listed:
            raise EngineError(
                f"found prompts for the adapter {', '.join(sorted(names - listed))}, but {self._server.url} lists "
                f"{', '.join(sorted(listed)) or 'nothing'}: load it there under that name (vLLM: --lora-modules), or "
                "use engine=llama_cpp"
            )

    def _complete(self, prompt: Prompt, text: str) -> Completion:
        """The answer to a prompt; `text` is all of it in the model's template, or "" for the server to render it."""
        start = time.perf_counter()
        fields: dict[str, Any] = {
            "model": prompt.adapter or self._model,
            "max_tokens": prompt.max_tokens,
            "temperature": prompt.temperature,
            "top_p": 1.0,
            "seed": prompt.seed % 2**31,
        }
        more: dict[str, Any]
        if text:
            path, more = "/completions", {"prompt": text, "stop": list(prompt.stop) or None}
        else:  # the stop text may also stand before the program; the answer's beginning is written there, too
            path = "/chat/completions"
            more = {"messages": list(prompt.messages), "max_tokens": prompt.max_tokens + len(prompt.prefill)}
        fields = {**fields, **more, **self._options.extra}
        reply = self._server.ask(path, {k: v for k, v in fields.items() if v is not None})
        try:
            choice, usage = reply["choices"][0], reply["usage"]
            answer = choice["text"] if text else _after(choice["message"]["content"] or "", prompt.prefill)
            given, made = int(usage["prompt_tokens"]), int(usage["completion_tokens"])
            return Completion(cut(answer, prompt.stop)[0], given, made, time.perf_counter() - start)
        except (AttributeError, KeyError, IndexError, TypeError, ValueError) as error:
            raise EngineError(
                f"{self._server.url}{path}: found {self._server.shown(reply)}, expected a completion with its usage in "
                "tokens: is it an OpenAI-compatible server?"
            ) from error


def _after(text: str, prefill: str) -> str:
    """An answer without the beginning that it was to have, and without what was said before that."""
    return text.partition(prefill)[2] if prefill and prefill in text else text


def _each(calls: Sequence[Callable[[], Completion]], parallel: int) -> Generator[tuple[int, Completion]]:
    """The place and the result of every call, as they come, `parallel` at once; the first failure is raised.

    The threads are daemons: Ctrl-C, and a failure of one, do not wait for answers that nobody wants any more.
    """
    waiting = enumerate(calls)
    lock, over = threading.Lock(), threading.Event()
    results: queue.SimpleQueue[tuple[int, Completion | BaseException]] = queue.SimpleQueue()

    def work() -> None:
        while not over.is_set():
            with lock:
                place, call = next(waiting, (-1, None))
            if call is None:
                return
            try:
                results.put((place, call()))
            except BaseException as error:  # raised again in the caller's thread
                results.put((place, error))

    for _ in range(min(parallel, len(calls))):
        threading.Thread(target=work, daemon=True).start()
    try:
        for _ in calls:
            place, result = results.get()
            if isinstance(result, BaseException):
                raise result
            yield place, result
    finally:
        over.set()
