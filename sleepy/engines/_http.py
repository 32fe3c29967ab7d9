"""Requests to a server of models: what is worth another try, how long to wait before it, and what to say in the end."""

from __future__ import annotations

import http.client
import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar

from sleepy.errors import EngineError

AGAIN = (408, 425, 429, 500, 502, 503, 504)  # statuses that may pass: busy, or still loading the model
FIRST_WAIT, LONGEST_WAIT = 0.5, 60.0  # seconds
_SHOWN = 300  # characters of a server's words

T = TypeVar("T")


class Temporary(Exception):
    """A failure that may pass: what was found, and the seconds that the server asks to wait."""

    def __init__(self, found: str, wait: float = 0.0) -> None:
        super().__init__(found)
        self.wait = wait


def retried(call: Callable[[], T], retries: int) -> T:
    """What `call` gives; after a Temporary it is called again, up to `retries` times, after 0.5, 1, 2, ... seconds or
    as many as the server asks for. Raises EngineError with the last failure."""
    tried = 0
    while True:
        try:
            return call()
        except Temporary as failure:
            if failure.wait > LONGEST_WAIT:
                raise EngineError(f"{failure}; it asks to wait {failure.wait:.0f} s: try again then") from failure
            if tried == retries:
                raise EngineError(f"{failure} (tried {tried + 1} times)") from failure
            time.sleep(max(failure.wait, min(LONGEST_WAIT, FIRST_WAIT * 2**tried)))
        tried += 1


class Server:
    """An HTTP server that speaks JSON. The key stays in here: what a server says is shown without it."""

    def __init__(self, base_url: str, key_variable: str, timeout: float, retries: int) -> None:
        """`timeout` is in seconds, for each request. Raises EngineError for a key that no header can carry."""
        self.url, self._timeout, self._retries = base_url.rstrip("/"), timeout, retries
        self._variable, self._key = key_variable, os.environ.get(key_variable, "").strip()
        if not (self._key.isascii() and self._key.isprintable()):
            raise EngineError(f"the environment variable {key_variable} holds signs that no key has: set it anew")
        self._opener = urllib.request.build_opener(_Stay)

    def ask(self, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """The JSON object that the server answers: a GET without `body`, a POST with it.

        Raises EngineError when the server refuses, or does not answer well after the last retry.
        """
        return retried(lambda: self._once(path, body), self._retries)

    def _once(self, path: str, body: dict[str, Any] | None) -> dict[str, Any]:
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        data = None if body is None else json.dumps(body).encode()
        url = self.url + path
        try:
            with self._opener.open(urllib.request.Request(url, data, headers), timeout=self._timeout) as reply:
                content = reply.read()
        except urllib.error.HTTPError as error:
            raise self._refused(url, error) from error
        except TimeoutError as error:
            raise self._late(url) from error
        except urllib.error.URLError as error:
            if isinstance(error.reason, TimeoutError):
                raise self._late(url) from error
            raise Temporary(
                f"no server answers at {self.url} ({error.reason}): start it, or correct engine.base_url"
            ) from error
        except (http.client.HTTPException, OSError) as error:
            raise Temporary(f"{url}: the answer broke off ({error!r}); the server's own log may say why") from error
        try:
            found = json.loads(content)
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise Temporary(
                f"{url}: found {self.shown(content)}, expected a JSON object: is it an OpenAI-compatible server?"
            )
        return found

    def _late(self, url: str) -> Temporary:
        return Temporary(f"{url}: found no answer within {self._timeout:g} s: raise engine.timeout, or look at its log")

    def _refused(self, url: str, error: urllib.error.HTTPError) -> Exception:
        """What a status other than 200 means."""
        try:
            with error:
                words = self.shown(error.read())
        except (http.client.HTTPException, OSError):
            words = "nothing"
        found = f"{url}: found status {error.code} ({words})"
        if error.code in AGAIN:
            return Temporary(found, _seconds(error.headers.get("Retry-After", "")))
        if error.code in (401, 403):
            state = "what it holds is not accepted" if self._key else "it is empty or not set"
            return EngineError(f"{found}, expected a key in the environment variable {self._variable}: {state}")
        if error.code == 404:
            return EngineError(
                f"{found}. Does engine.base_url end as the server wants it (most: /v1), and does it know engine.model? "
                "engine.chat=true is for servers without /completions"
            )
        if 300 <= error.code < 400:
            return EngineError(f"{found}: it has moved to {error.headers.get('Location')}; correct engine.base_url")
        return EngineError(f"{found}. A field it does not know is left out with engine.extra.<name>=null")

    def shown(self, said: object) -> str:
        """A server's words in one short line, without the key."""
        text = said.decode(errors="replace") if isinstance(said, bytes) else str(said)
        if self._key:
            text = text.replace(self._key, "***")
        return " ".join(text.split())[:_SHOWN] or "nothing"


class _Stay(urllib.request.HTTPRedirectHandler):
    """Follows no redirect: it would take the key to another host, and turn a POST into a GET."""

    def redirect_request(self, *args: Any) -> None:
        return None


def _seconds(words: str) -> float:
    """Seconds that a Retry-After asks for, in either of its forms (RFC 9110, 10.2.3); 0 if it says nothing."""
    try:
        return max(0.0, float(words))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(words).timestamp() - time.time())
    except ValueError:
        return 0.0
