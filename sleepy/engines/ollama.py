"""Ollama, through its own client: the GGUF file is loaded into its server and asked there."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from sleepy.artifacts import Completion, Prompt, Served, digest_of_file
from sleepy.deliver.modelfile import modelfile
from sleepy.engines._http import AGAIN, Temporary, retried
from sleepy.engines._remote import Wording, hold_to
from sleepy.engines.engine import Done, cut, ignore
from sleepy.engines.hot import hot_adapter
from sleepy.errors import EngineError, ModelError
from sleepy.options import ranged

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Ollama:
    """The file under evaluation becomes a model of Ollama, named by its digest; it stays there (`ollama rm` frees it).

    host: where the server listens; "" takes OLLAMA_HOST, else http://127.0.0.1:11434.
    pull: the name of a model of Ollama's library that is asked instead of the file; it has to be the one that `model`
        names, whose chat template is used.
    context: tokens a prompt and its answer may have together (256 to 131072).
    timeout: seconds to wait for an answer (above 0, to 86400).
    retries: how often a request is repeated, after 0.5, 1, 2, ... seconds (0 to 20).
    """

    host: str = ""
    pull: str = ""
    context: int = ranged(4096, at_least=256, at_most=131072)
    timeout: float = ranged(300.0, above=0, at_most=86400)
    retries: int = ranged(4, at_least=0, at_most=20)

    @property
    def loads(self) -> bool:
        """See Engine.loads."""
        return not self.pull

    @contextmanager
    def open(self, model: Served) -> Iterator[OllamaSession]:
        """See Engine.open."""
        with self._connected() as api:
            if self.pull:
                name, _ = api.pulled(self.pull)
                hold_to(f"{name} of {self._where}", model)
            else:
                name = api.created(model)
            yield OllamaSession(self, api, name, model)

    def identity(self) -> dict[str, object]:
        """See Engine.identity. A model of the library is pulled for it: its name alone may mean another tomorrow."""
        found: dict[str, object] = {"engine": "ollama", "host": self._where, "context": self.context}
        if self.pull:
            with self._connected() as api:
                found["pull"] = api.pulled(self.pull)
        return found

    @property
    def _where(self) -> str:
        return self.host or os.environ.get("OLLAMA_HOST") or "http://127.0.0.1:11434"

    @contextmanager
    def _connected(self) -> Iterator[_Api]:
        try:
            import httpx
            from ollama import Client
        except ImportError as error:
            raise EngineError('found no package ollama, which engine=ollama needs: pip install ".[ollama]"') from error
        try:
            client = Client(self._where, timeout=self.timeout)
        except (ValueError, httpx.InvalidURL) as error:
            raise EngineError(
                f"found {self._where!r} as engine.host or OLLAMA_HOST, expected a URL ({error})"
            ) from error
        with client:
            yield _Api(client, self._where, self.retries)


class _Api:
    """Ollama's client, with retries and our errors."""

    def __init__(self, client: Any, where: str, retries: int) -> None:
        self.client, self.where, self._retries = client, where, retries

    def ask(self, call: Callable[[], T]) -> T:
        """What a call of the client gives. Raises EngineError when it does not succeed."""
        return retried(lambda: self._once(call), self._retries)

    def _once(self, call: Callable[[], T]) -> T:
        import httpx
        from ollama import ResponseError

        try:
            return call()
        except ResponseError as error:
            found = f"Ollama at {self.where}: found status {error.status_code} ({str(error.error)[:300]})"
            if error.status_code in AGAIN:
                raise Temporary(found) from error
            raise EngineError(f"{found}. `ollama list` shows what it has, its own log says more") from error
        except (ConnectionError, httpx.ConnectError) as error:
            raise Temporary(f"no Ollama server answers at {self.where}: start it with: ollama serve") from error
        except httpx.TimeoutException as error:
            raise Temporary(f"Ollama at {self.where} gave no answer in time: raise engine.timeout") from error
        except httpx.HTTPError as error:
            raise Temporary(f"Ollama at {self.where}: the answer broke off ({error!r})") from error
        except (ValueError, TypeError, AttributeError) as error:  # what the client makes of other JSON, or none
            raise Temporary(f"{self.where}: found {str(error)[:200]}, expected Ollama's JSON: is it Ollama?") from error

    def digests(self) -> dict[str, str]:
        """The models that the server has, and their digests."""
        return {str(m.model): str(m.digest) for m in self.ask(self.client.list).models}

    def pulled(self, name: str) -> tuple[str, str]:
        """The full name and the digest of a model of Ollama's library, brought if it is not there."""
        full = name if ":" in name.rpartition("/")[2] else f"{name}:latest"
        if full not in self.digests():
            self.ask(lambda: _pull(self.client, full))
        return full, self.digests().get(full, "")

    def created(self, model: Served, adapter: str = "") -> str:
        """The name of a model that is made of the file, and of one of the adapters; made if it is not there."""
        if not model.gguf.is_file():
            raise EngineError(
                f"no model file {model.gguf}. Run the export stage, or delete the cache entry and try again"
            )
        base = f"sleepy-{digest_of_file(model.gguf)[:16]}"
        if not adapter:
            return self._created(base, lambda: {**_parts(model), "files": self._uploaded(model.gguf)})
        path = hot_adapter(model, adapter).gguf
        if not path.is_file():
            raise EngineError(f"found no adapter file {path}: export the adapter as GGUF first")
        name = f"{base}-{digest_of_file(path)[:16]}"
        return self._created(name, lambda: {"from_": base, "adapters": self._uploaded(path)})

    def _created(self, name: str, parts: Callable[[], dict[str, Any]]) -> str:
        if f"{name}:latest" not in self.digests():
            given = parts()
            self.ask(lambda: self.client.create(name, **given))
        return name

    def _uploaded(self, path: Any) -> dict[str, str]:
        return {path.name: self.ask(lambda: self.client.create_blob(path))}


def _parts(model: Served) -> dict[str, Any]:
    """Template and stop words of the Modelfile, for who runs the model by hand; our own prompts are rendered."""
    try:
        text = modelfile(model.weights, model.gguf)
    except ModelError:  # a template too special for Ollama's
        return {}
    return {
        "template": text.split('"""')[1],
        "parameters": {"stop": re.findall(r'^PARAMETER stop "(.*)"$', text, re.MULTILINE)},
    }


def _pull(client: Any, name: str) -> None:
    from tqdm import tqdm

    parts: dict[str, tuple[int, int]] = {}
    with tqdm(desc=f"pull {name}", unit="B", unit_scale=True) as bar:
        for step in client.pull(name, stream=True):
            if step.digest and step.total:
                parts[step.digest] = (step.completed or 0, step.total)
                bar.total = sum(total for _, total in parts.values())
                bar.update(sum(done for done, _ in parts.values()) - bar.n)


class OllamaSession:
    """A model of Ollama's, and those made of it and an adapter."""

    def __init__(self, options: Ollama, api: _Api, name: str, model: Served) -> None:
        self._options, self._api, self._model, self._wording = options, api, model, Wording(model)
        self._names = {"": name}  # adapter -> model of Ollama

    def generate(self, prompts: Sequence[Prompt], done: Done = ignore) -> list[Completion]:
        """See Session.generate. Adapter by adapter: Ollama loads another model for each."""
        for adapter in dict.fromkeys(p.adapter for p in prompts):
            if adapter not in self._names:
                self._names[adapter] = self._adapted(adapter)
        order = {name: place for place, name in enumerate(self._names)}
        found: dict[int, Completion] = {}
        for place, prompt in sorted(enumerate(prompts), key=lambda item: order[item[1].adapter]):
            found[place] = self._complete(prompt)
            done(place, found[place])
        return [found[i] for i in range(len(prompts))]

    def _adapted(self, adapter: str) -> str:
        if self._options.pull:
            raise EngineError(
                f"found a prompt for the adapter {adapter!r} with engine.pull={self._options.pull}, expected none: "
                'leave engine.pull "" and the file is taken, which the adapter belongs to'
            )
        return self._api.created(self._model, adapter)

    def _complete(self, prompt: Prompt) -> Completion:
        start = time.perf_counter()
        text = self._wording.text(prompt)
        own, room = self._wording.tokens(text), self._options.context
        if own >= room:  # Ollama would cut the prompt without a word
            raise EngineError(f"a prompt has {own} tokens, the context {room}. Raise engine.context")
        options = {
            "num_ctx": room,
            "num_predict": min(prompt.max_tokens, room - own),
            "temperature": prompt.temperature,
            "seed": prompt.seed % 2**31,
            "stop": list(prompt.stop),
            "top_k": 0,
            "top_p": 1.0,
            "min_p": 0.0,
            "repeat_penalty": 1.0,
        }
        reply = self._api.ask(
            lambda: self._api.client.generate(self._names[prompt.adapter], text, raw=True, options=options)
        )
        given = own if reply.prompt_eval_count is None else reply.prompt_eval_count  # old servers: none if cached
        self._wording.check(text, given, f"Ollama at {self._api.where}")
        return Completion(
            cut(reply.response, prompt.stop)[0], given, reply.eval_count or 0, time.perf_counter() - start
        )
