"""Ollama: its client and its OpenAI endpoint against a local server that keeps to what its source and API documentation
say (tags, blobs, create, /v1/completions). The last test asks the real program, where there is one."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from sleepy.artifacts import HotAdapter, Prompt, Served
from sleepy.engines import _server
from sleepy.engines._server import Template
from sleepy.engines.llama_cpp import LlamaCpp
from sleepy.engines.ollama import Ollama
from sleepy.errors import EngineError
from tests.engines.serving import Asked, Local, Reply, answering, free_port, said

ASKED = Prompt(
    ({"role": "system", "content": "You know Rust."}, {"role": "user", "content": "Print 1."}),
    "```rust\n",
    ("\n```",),
    max_tokens=24,
)


class Recorded:
    """What a server of Ollama's holds, and how it answers; `count` gives a prompt's tokens."""

    def __init__(self, count: Callable[[str], int]) -> None:
        self.models: list[str] = []
        self.blobs: set[str] = set()
        self.count = count

    def __call__(self, asked: Asked) -> Reply:
        match asked.path.strip("/").split("/"):
            case ["api", "tags"]:
                return said({"models": [{"name": name, "model": name, "size": 1} for name in self.models]})
            case ["api", "blobs", digest]:
                self.blobs.add(f"sha256:{hashlib.sha256(asked.body).hexdigest()}")
                return (201, {}, b"") if digest in self.blobs else said({"error": "digest mismatch"}, 400)
            case ["api", "create"]:
                if not set(asked.json["files"].values()) <= self.blobs:
                    return said({"error": "unknown type"}, 400)
                self.models.append(asked.json["model"])
                return said({"status": "success"})
            case ["v1", "completions"] if asked.json["model"] in self.models:
                usage = {"prompt_tokens": self.count(asked.json["prompt"]), "completion_tokens": 5}
                return said({"choices": [{"text": "fn main() {}\n```"}], "usage": usage})
        return said({"error": "not found"}, 404)


@pytest.fixture(scope="module")
def template(served: Served) -> Template:
    return Template(served)


@pytest.fixture
def local(template: Template) -> Iterator[Local]:
    with answering(Recorded(template.tokens)) as running:
        yield running


def test_the_file_becomes_a_model_once_and_is_asked_in_our_own_words(
    local: Local, served: Served, template: Template, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = hashlib.sha256(served.gguf.read_bytes()).hexdigest()
    name = f"sleepy-{digest[:16]}:512"
    monkeypatch.setenv("OLLAMA_HOST", local.url.removeprefix("http://"))
    for _ in range(2):
        with Ollama(context=512).open(served) as session:
            (found,) = session.generate([replace(ASKED, temperature=0.5, seed=3)])
    assert (found.text, found.prompt_tokens) == ("fn main() {}", template.tokens(template.text(ASKED)))
    assert [a.path for a in local.asked if a.path != "/api/tags"] == [
        f"/api/blobs/sha256:{digest}", "/api/create", "/v1/completions", "/v1/completions",
    ]  # fmt: skip
    create, ask = (next(a.json for a in local.asked if a.path == page) for page in ("/api/create", "/v1/completions"))
    assert create == {
        "model": name, "stream": False, "files": {served.gguf.name: f"sha256:{digest}"}, "template": "{{ .Prompt }}",
        "parameters": {"num_ctx": 512, "top_k": 0, "min_p": 0.0, "repeat_penalty": 1.0},
    }  # fmt: skip
    assert ask == {
        "model": name, "max_tokens": 24, "temperature": 0.5, "top_p": 1.0, "seed": 3, "stop": ["\n```"],
        "prompt": "<|im_start|>system\nYou know Rust.<|im_end|>\n<|im_start|>user\nPrint 1.<|im_end|>\n"
        "<|im_start|>assistant\n```rust\n",
    }  # fmt: skip


def test_identity_asks_no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OLLAMA_HOST", raising=False)
    assert Ollama(timeout=9).identity() == {"engine": "ollama", "host": "http://127.0.0.1:11434", "context": 4096}
    monkeypatch.setenv("OLLAMA_HOST", f"127.0.0.1:{free_port()}")
    assert Ollama().identity()["host"] == os.environ["OLLAMA_HOST"]


def test_adapters_are_refused_before_anything_is_uploaded(local: Local, served: Served) -> None:
    hot = replace(served, adapters=(HotAdapter("night", Path("night.gguf"), Path("night")),))
    with (
        pytest.raises(EngineError, match=r"cannot put adapters on smollm2.*engine=llama_cpp, or .*merged"),
        Ollama(host=local.url).open(hot),
    ):
        pass
    assert not local.asked


def test_a_prompt_that_ollama_would_cut_is_an_engine_error(local: Local, served: Served, template: Template) -> None:
    long = replace(ASKED, messages=({"role": "user", "content": "word " * 300},), max_tokens=99)
    with Ollama(host=local.url, context=256).open(served) as session:
        with pytest.raises(EngineError, match=r"engine\.context=256\. Raise engine\.context"):
            session.generate([long])
        session.generate([replace(long, messages=({"role": "user", "content": "word " * 200},))])
    ask = local.asked[-1].json
    assert ask["max_tokens"] == 256 - template.tokens(ask["prompt"]) < 99
    with (
        answering(Recorded(lambda text: 130)) as other,
        Ollama(host=other.url).open(served) as session,
        pytest.raises(EngineError, match=r"130 tokens in a prompt that has 3\d\d for smollm2.*cuts prompts off"),
    ):
        session.generate([long])


def refused(words: str, host: str, model: Served) -> None:
    with pytest.raises(EngineError, match=words), Ollama(host=host).open(model):
        pass


def test_no_server_no_ollama_no_file(local: Local, served: Served) -> None:
    refused("No Ollama server answers at .*start it with: ollama serve", f"http://127.0.0.1:{free_port()}", served)
    refused("http://x:y is not an Ollama server .*check engine.host", "http://x:y", served)
    refused("There is no model file no.gguf", local.url, replace(served, gguf=Path("no.gguf")))
    for reply, words in (
        (said({"error": "boiling over"}, 500), "boiling over.*Its log may say more"),
        ((200, {}, b"<html>"), "is not an Ollama server .*check engine.host"),
        (said({"models": 3}), "is not an Ollama server .*check engine.host"),
        ((200, {"Content-Length": "999"}, b"{"), "Its log may say more"),
    ):
        with answering(lambda asked, reply=reply: reply) as other:
            refused(words, other.url, served)


@contextmanager
def real_server(folder: Path) -> Iterator[str]:
    """`ollama serve` with models of its own."""
    host = f"http://127.0.0.1:{free_port()}"
    env = {**os.environ, "OLLAMA_HOST": host, "OLLAMA_MODELS": str(folder)}
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(["ollama", "serve"], env=env, stdout=log, stderr=log)
    try:
        _server.Server(host, "", 10, 8).ask("/api/version")
        yield host
    finally:
        server.terminate()
        server.wait()


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("ollama") is None, reason="there is no program `ollama` on this machine")
def test_the_real_ollama_says_what_the_embedded_engine_says(served: Served, tmp_path: Path) -> None:
    with LlamaCpp(threads=1, context=1024).open(served) as session:
        embedded = session.generate([ASKED])
    with real_server(tmp_path) as host, Ollama(host=host, context=1024).open(served) as session:
        (found,) = session.generate([ASKED])
    assert (found.text, found.prompt_tokens) == (embedded[0].text, embedded[0].prompt_tokens)
