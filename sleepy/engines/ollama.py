"""Ollama: the GGUF file is loaded into its server through its own client, and asked over OpenAI's protocol."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import ClassVar

from sleepy.artifacts import Served, digest_of_file
from sleepy.engines._server import Server, Template
from sleepy.engines.engine import Engine
from sleepy.engines.openai import OpenAI, OpenAISession
from sleepy.errors import EngineError
from sleepy.gguf.header import parts_of
from sleepy.options import ranged

# What Ollama does by default besides taking the likeliest token, or drawing at the given temperature, is switched off.
_PARAMETERS = {"top_k": 0, "min_p": 0.0, "repeat_penalty": 1.0}


@dataclass(frozen=True, kw_only=True)
class Ollama(Engine):
    """Makes a model `sleepy-<digest>:<context>` of the file under evaluation. It stays until `ollama rm`.

    Newer servers refuse LoRA adapters, so only whole models are served.

    host: where the server listens; "" takes OLLAMA_HOST, else http://127.0.0.1:11434.
    context: tokens that a prompt and its answer may have together (256 to 131072).
    timeout: seconds to wait for an answer (above 0, to 86400).
    retries: how often a prompt is sent again, with growing pauses (0 to 20).
    """

    host: str = ""
    context: int = ranged(4096, at_least=256, at_most=131072)
    timeout: float = ranged(300.0, above=0, at_most=86400)
    retries: int = ranged(4, at_least=0, at_most=20)

    hot: ClassVar[bool] = False
    clients: ClassVar[tuple[str, ...]] = ("ollama",)
    no_effect: ClassVar[tuple[str, ...]] = ("timeout", "retries")

    @contextmanager
    def open(self, model: Served) -> Iterator[OpenAISession]:
        """See Engine.open. Raises EngineError for a model that is served with adapters."""
        if model.adapters:
            raise EngineError(
                f"engine=ollama cannot put adapters on {model.name}: Ollama no longer takes LoRA adapters. Use "
                "engine=llama_cpp, or evaluate a file that the adapter is merged into"
            )
        if not model.gguf.is_file():
            raise EngineError(f"There is no model file {model.gguf}: run the export stage, or fetch the model again")
        if len(parts_of(model.gguf)) > 1:
            raise EngineError(
                f"engine=ollama cannot load {model.gguf}, which is split into parts. Use engine=llama_cpp"
            )
        name = f"sleepy-{digest_of_file(model.gguf)[:16]}:{self.context}"
        url = self._created(name, model)
        with closing(Server(f"{url}/v1", "OLLAMA_API_KEY", self.timeout, self.retries)) as server:
            yield OpenAISession(OpenAI(extra={}), server, name, Template(model), self.context)

    def identity(self) -> dict[str, object]:
        """See Engine.identity. The server is not asked."""
        return {**super().identity(), "host": self._address}

    @property
    def _address(self) -> str:
        return self.host or os.environ.get("OLLAMA_HOST") or "http://127.0.0.1:11434"

    def _created(self, name: str, model: Served) -> str:
        """Make the model `name` of a file if the server does not have it yet; the server's URL.

        The template is Ollama's own for models without one: it passes a prompt on as it is.
        """
        import httpx
        from ollama import Client, ResponseError

        try:
            with Client(self._address, timeout=self.timeout) as client:
                if name not in [listed.model for listed in client.list().models]:
                    files = {model.gguf.name: client.create_blob(model.gguf)}
                    parameters = {"num_ctx": self.context, **_PARAMETERS}
                    client.create(name, files=files, template="{{ .Prompt }}", parameters=parameters)
                return str(client._client.base_url).rstrip("/")  # completed: OLLAMA_HOST may be a port alone
        except (ResponseError, httpx.HTTPError) as error:
            raise EngineError(f"Ollama at {self._address}: {_line(error)}. Its log may say more") from error
        except ConnectionError as error:
            raise EngineError(f"No Ollama server answers at {self._address}: start it with: ollama serve") from error
        except (ValueError, TypeError, AttributeError, httpx.InvalidURL) as error:  # no URL, or not Ollama's JSON
            raise EngineError(f"{self._address} is not an Ollama server ({_line(error)}): check engine.host") from error


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
