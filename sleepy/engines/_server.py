"""A client for OpenAI-compatible servers: HTTP with retries, and the model's own chat template and token counts."""

from __future__ import annotations

import os
from typing import Any

from sleepy.artifacts import Prompt, Served
from sleepy.errors import EngineError

_AGAIN = (408, 425, 429, 500, 502, 503, 504)  # statuses of a server that is busy or still loading the model
_PAUSE, _LONGEST_PAUSE = 0.5, 60  # seconds: the unit of the pauses between retries, and the longest of them


class Server:
    """An HTTP server that speaks JSON. Requests are repeated by urllib3, which heeds Retry-After."""

    def __init__(self, base_url: str, key_variable: str, timeout: float, retries: int) -> None:
        """`timeout` is in seconds, for each request. `key_variable` names the environment variable with the key.

        Raises EngineError for a key that an HTTP header cannot hold.
        """
        import requests
        from requests.adapters import HTTPAdapter
        from urllib3.util import Retry

        self.url, self._timeout = base_url.rstrip("/"), timeout
        self._variable, self._key = key_variable, os.environ.get(key_variable, "").strip()
        if not (self._key.isascii() and self._key.isprintable()):
            raise EngineError(f"The key in the environment variable {key_variable} has invalid characters")
        again = Retry(
            retries,
            status_forcelist=_AGAIN,
            allowed_methods=None,  # POST, too: a completion changes nothing on the server
            backoff_factor=_PAUSE,
            backoff_max=_LONGEST_PAUSE,
            retry_after_max=_LONGEST_PAUSE,
            raise_on_status=False,
        )
        self._session = requests.Session()
        self._session.auth = self._signed  # a function, so that no password from ~/.netrc takes its place
        self._session.mount(self.url, HTTPAdapter(max_retries=again, pool_maxsize=256))

    def ask(self, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """The JSON object that the server answers: to a GET without `body`, to a POST with it.

        Raises EngineError when the server refuses, or gives no proper answer after the last retry.
        """
        import requests

        url, method = self.url + path, "GET" if body is None else "POST"
        try:  # no redirects: they would turn a POST into a GET
            reply = self._session.request(method, url, json=body, timeout=self._timeout, allow_redirects=False)
        except requests.RequestException as error:
            raise EngineError(self._failed(url, error)) from error
        if reply.status_code != 200:
            raise EngineError(self._refused(url, reply))
        try:
            answer = reply.json()
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            raise EngineError(
                f"{url} did not answer with a JSON object, but with: {self.shown(reply.text)}. Is it an "
                "OpenAI-compatible server?"
            )
        return answer

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def shown(self, text: object) -> str:
        """A server's words in one short line, without the key."""
        words = str(text).replace(self._key, "***") if self._key else str(text)
        return " ".join(words.split())[:300] or "(nothing)"

    def _signed(self, request: Any) -> Any:
        if self._key:
            request.headers["Authorization"] = f"Bearer {self._key}"
        return request

    def _failed(self, url: str, error: Exception) -> str:
        """Why there is no answer at all."""
        from urllib3.exceptions import NewConnectionError, TimeoutError

        cause = error.args[0] if error.args else error
        reason = getattr(cause, "reason", cause)  # of urllib3's "too many retries"
        if isinstance(reason, NewConnectionError):
            return f"No server answers at {self.url}: start it, or correct its address in the config"
        if isinstance(reason, TimeoutError):
            return f"{url}: no answer within {self._timeout:g} s. Raise engine.timeout, or look at the server's log"
        return f"{url}: the connection failed ({self.shown(reason)}). The server's log may say why"

    def _refused(self, url: str, reply: Any) -> str:
        """What a status other than 200 means."""
        status = reply.status_code
        if status in (401, 403):
            state = "is not accepted" if self._key else "is empty or not set"
            hint = f"The key in the environment variable {self._variable} {state}"
        elif status == 404:
            hint = (
                "Check engine.base_url (it usually ends in /v1) and engine.model; engine.chat=true avoids /completions"
            )
        elif 300 <= status < 400:
            hint = f"It has moved to {reply.headers.get('Location')}: correct engine.base_url"
        elif status in _AGAIN:
            hint = "It stayed so after all retries"
        else:
            hint = "A field that the server does not know is left out with engine.extra.<name>=null"
        return f"{url}: status {status} ({self.shown(reply.text)}). {hint}"


class Template:
    """The chat template and the tokenizer of a model, for servers that take plain text."""

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
        """The number of tokens in a text."""
        return len(self._tokenizer(text, add_special_tokens=False).input_ids)

    def check(self, text: str, counted: int, server: str) -> None:
        """Raises EngineError when `server` counted a different number of tokens in `text`: it cut off a prompt that is
        too long for it, or serves a model with another tokenizer."""
        tokens = self.tokens(text)
        if abs(tokens - counted) > 2 + tokens // 100:
            raise EngineError(
                f"{server} counted {counted} tokens in a prompt that has {tokens} for {self._model.name}: it serves "
                f"another model, or cuts prompts off. Let it serve {self._model.gguf} with a larger context"
            )
