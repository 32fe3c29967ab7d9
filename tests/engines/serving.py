"""Local servers for the tests of engines that ask one: they answer as a test says, and keep what they were asked."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Reply = tuple[int, dict[str, str], bytes]
"""Status, headers, body."""


@dataclass
class Asked:
    """A request: method, path, headers (lower case), body."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Local:
    """A running server: its URL, and the requests that came."""

    url: str
    asked: list[Asked] = field(default_factory=list)


def said(value: object, status: int = 200, headers: dict[str, str] | None = None) -> Reply:
    """A reply in JSON."""
    return status, headers or {}, json.dumps(value).encode()


def in_turn(*replies: Reply) -> Callable[[Asked], Reply]:
    """One reply after the other, then the last again."""
    left = list(replies)
    return lambda asked: left.pop(0) if len(left) > 1 else left[0]


@contextmanager
def answering(answer: Callable[[Asked], Reply]) -> Iterator[Local]:
    """A server on a free local port; `answer` is called for each request, in the request's own thread."""

    class Handler(BaseHTTPRequestHandler):
        def handle_any(self) -> None:
            body = self._chunked() if "chunked" in self.headers.get("Transfer-Encoding", "") else None
            body = self.rfile.read(int(self.headers.get("Content-Length", 0))) if body is None else body
            headers = {k.lower(): v for k, v in self.headers.items()}
            local.asked.append(Asked(self.command, self.path, headers, body))
            status, more, content = answer(local.asked[-1])
            try:
                self.send_response(status)
                for name, value in {"Content-Length": str(len(content)), **more}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)
            except (BrokenPipeError, ConnectionResetError):
                pass  # the client has gone

        def _chunked(self) -> bytes:
            content = b""
            while size := int(self.rfile.readline(), 16):
                content += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return content

        do_GET = do_POST = do_HEAD = handle_any

        def log_message(self, *args: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    local = Local(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield local
    finally:
        server.shutdown()
        server.server_close()


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])
