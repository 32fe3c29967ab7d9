"""Ollama's client against a recorded protocol: a local server that keeps and answers what Ollama's API documentation
(docs/api.md: tags, blobs, create, generate, pull) and its client's source say. Where there is `ollama`, for real."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from sleepy.artifacts import BaseModel, Completion, HotAdapter, Prompt, Served
from sleepy.engines import _http, _remote
from sleepy.engines._remote import Wording
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


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """Short waits, and no memory of other tests' servers."""
    monkeypatch.setattr(_http, "FIRST_WAIT", 0.01)
    monkeypatch.setattr(_remote, "_files", {})


class Recorded:
    """What a server of Ollama's holds, and how it answers; `count` gives a prompt's tokens."""

    def __init__(self, count: Callable[[str], int]) -> None:
        self.models: dict[str, str] = {}  # name:tag -> digest
        self.blobs: set[str] = set()
        self.count = count

    def __call__(self, asked: Asked) -> Reply:
        match asked.path.removeprefix("/api/").split("/"):
            case ["tags"]:
                listed = self.models.items()
                return said({"models": [{"name": name, "model": name, "size": 1, "digest": d} for name, d in listed]})
            case ["blobs", digest]:
                if digest != digest_of(asked.body):
                    return said({"error": "digest mismatch"}, 400)
                self.blobs.add(digest)
                return 201, {}, b""
            case ["create"]:
                return self.create(asked.json)
            case ["generate"]:
                return self.generate(asked.json)
            case ["pull"]:
                self.models[asked.json["model"]] = "f00d"
                layer = {"status": "pulling aabb", "digest": "sha256:aabb", "total": 10}
                steps = [{"status": "pulling manifest"}, layer, {**layer, "completed": 10}, {"status": "success"}]
                return 200, {}, "".join(json.dumps(step) + "\n" for step in steps).encode()
        return said({"error": "no such page"}, 404)

    def create(self, given: dict) -> Reply:
        files = {**given.get("files", {}), **given.get("adapters", {})}
        if not all(name.endswith(".gguf") and digest in self.blobs for name, digest in files.items()):
            return said({"error": "unknown type"}, 400)
        if not given.get("files") and f"{given.get('from')}:latest" not in self.models:
            return said({"error": "neither 'from' or 'files' was specified"}, 400)
        self.models[f"{given['model']}:latest"] = "c0de"
        return said({"status": "success"})

    def generate(self, given: dict) -> Reply:
        if not {given["model"], f"{given['model']}:latest"} & set(self.models):
            return said({"error": f"model '{given['model']}' not found"}, 404)
        counts = {"prompt_eval_count": self.count(given["prompt"]), "eval_count": 5, "total_duration": 8493852375}
        about = {"created_at": "2023-11-03T15:36:02.583064Z", "done": True, "done_reason": "stop"}
        return said({"model": given["model"], "response": f"// {given['model']}", **about, **counts})


def digest_of(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


@pytest.fixture(scope="module")
def served(smollm2: BaseModel, tmp_path_factory: pytest.TempPathFactory) -> Served:
    """SmolLM2, and what stands for an adapter: the recorded server does not look into files."""
    path = tmp_path_factory.mktemp("hot") / "night.gguf"
    path.write_bytes(b"GGUF of an adapter")
    return Served("smollm2", smollm2.gguf, smollm2.weights, "x", (HotAdapter("night", path, path.parent),))


@pytest.fixture(scope="module")
def wording(served: Served) -> Wording:
    return Wording(served)


@pytest.fixture
def local(wording: Wording) -> Iterator[Local]:
    with answering(Recorded(wording.tokens)) as running:
        yield running


def paths(local: Local) -> list[str]:
    """The pages that were asked for, without the list of models."""
    return [asked.path.split("/")[2] for asked in local.asked if asked.path != "/api/tags"]


def test_the_file_becomes_a_model_once_and_is_asked_in_our_own_words(
    local: Local, served: Served, wording: Wording, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = digest_of(served.gguf.read_bytes())
    name = f"sleepy-{digest[7:23]}"
    assert Ollama().identity()["host"] == "http://127.0.0.1:11434"
    monkeypatch.setenv("OLLAMA_HOST", local.url)
    assert Ollama().identity()["host"] == local.url
    for _ in range(2):
        with Ollama(context=512).open(served) as session:
            (found,) = session.generate([replace(ASKED, temperature=0.5, seed=3)])
    assert found == Completion(f"// {name}", wording.tokens(wording.text(ASKED)), 5, found.seconds)
    assert paths(local) == ["blobs", "create", "generate", "generate"]
    create, ask = (next(a.json for a in local.asked if a.path == f"/api/{page}") for page in ("create", "generate"))
    assert create == {
        "model": name, "stream": False, "files": {served.gguf.name: digest}, "template": create["template"],
        "parameters": {"stop": ["<|im_end|>", "<|endoftext|>", "<reponame>"]},
    }  # fmt: skip
    assert "{{ .Content }}" in create["template"] and create["template"].endswith("<|im_start|>assistant\n")
    assert ask["prompt"] == (
        "<|im_start|>system\nYou know Rust.<|im_end|>\n<|im_start|>user\nPrint 1.<|im_end|>\n<|im_start|>assistant\n"
        "```rust\n"
    )
    assert (ask["model"], ask["raw"], ask["stream"]) == (name, True, False)
    assert ask["options"] == {
        "num_ctx": 512, "num_predict": 24, "temperature": 0.5, "seed": 3, "stop": ["\n```"], "top_k": 0, "top_p": 1.0,
        "min_p": 0.0, "repeat_penalty": 1.0,
    }  # fmt: skip


def test_an_adapter_is_put_on_the_model_of_the_file(local: Local, served: Served) -> None:
    heard: list[int] = []
    worn = [replace(ASKED, adapter=name) for name in ("night", "", "night")]
    with Ollama(host=local.url).open(served) as session:
        found = [c.text for c in session.generate(worn, lambda i, c: heard.append(i))]
    base, night = found[1], found[0]
    assert found[2] == night == f"{base}-{digest_of(b'GGUF of an adapter')[7:23]}"
    assert heard == [1, 0, 2]  # adapter by adapter
    assert paths(local) == ["blobs", "create"] * 2 + ["generate"] * 3
    create = [a.json for a in local.asked if a.path == "/api/create"][1]
    adapters = {"night.gguf": digest_of(b"GGUF of an adapter")}
    assert create == {"model": night[3:], "stream": False, "from": base[3:], "adapters": adapters}


def test_an_unknown_adapter_is_an_engine_error_before_anything_is_answered(local: Local, served: Served) -> None:
    with (
        Ollama(host=local.url).open(served) as session,
        pytest.raises(EngineError, match=r"adapter 'day', expected one that smollm2 is served with \(night\)"),
    ):
        session.generate([ASKED, replace(ASKED, adapter="day")])
    assert "generate" not in paths(local)


def test_a_model_of_the_library_is_pulled_once(local: Local, served: Served, capsys: pytest.CaptureFixture) -> None:
    options = Ollama(host=local.url, pull="smollm2")
    assert options.identity()["pull"] == ("smollm2:latest", "f00d") and "pull smollm2" in capsys.readouterr().err
    assert options.identity() != Ollama(host=local.url).identity() != Ollama(host=local.url, context=512).identity()
    with options.open(served) as session:
        assert session.generate([ASKED])[0].text == "// smollm2:latest"
        with pytest.raises(EngineError, match=r"adapter 'night' with engine\.pull=smollm2"):
            session.generate([replace(ASKED, adapter="night")])
    assert paths(local) == ["pull", "generate"]
    with (
        pytest.raises(EngineError, match=r"now for other\.gguf"),
        options.open(replace(served, gguf=Path("other.gguf"))),
    ):
        pass


def test_a_prompt_that_ollama_would_cut_is_an_engine_error(local: Local, served: Served, wording: Wording) -> None:
    long = replace(ASKED, messages=({"role": "user", "content": "word " * 300},))
    with Ollama(host=local.url, context=256).open(served) as session:
        with pytest.raises(EngineError, match=r"the context 256\. Raise engine\.context"):
            session.generate([long])
        session.generate([replace(long, messages=({"role": "user", "content": "word " * 200},), max_tokens=99)])
        ask = local.asked[-1].json
        assert ask["options"]["num_predict"] == 256 - wording.tokens(ask["prompt"]) < 99
    with (
        answering(Recorded(lambda text: 130)) as other,
        Ollama(host=other.url).open(served) as session,
        pytest.raises(EngineError, match=r"counted 130 tokens in a prompt, smollm2 has 3\d\d for it.*cuts prompts off"),
    ):
        session.generate([long])


def test_no_server_no_ollama_no_host(served: Served) -> None:
    with (
        pytest.raises(EngineError, match=r"no Ollama server answers at .*start it with: ollama serve \(tried 2 times"),
        Ollama(host=f"http://127.0.0.1:{free_port()}", retries=1).open(served),
    ):
        pass
    with pytest.raises(EngineError, match=r"'http://x:y' as engine\.host"), Ollama(host="http://x:y").open(served):
        pass
    with (
        answering(Recorded(len)) as local,
        pytest.raises(EngineError, match="no model file"),
        Ollama(host=local.url).open(replace(served, gguf=Path("no.gguf"))),
    ):
        pass


@pytest.mark.parametrize(
    ("reply", "words", "times"),
    [
        (said({"error": "boiling over"}, 500), r"status 500 \(boiling over\) \(tried 2 times\)", 2),
        ((200, {}, b"<html>"), r"expected Ollama's JSON: is it Ollama\? \(tried 2", 2),
        ((200, {}, b"[1]"), r"expected Ollama's JSON: is it Ollama\? \(tried 2", 2),
        ((500, {}, b"[1]"), r"expected Ollama's JSON: is it Ollama\? \(tried 2", 2),
        (said({"models": 3}), r"expected Ollama's JSON: is it Ollama\? \(tried 2", 2),
        ((200, {"Content-Length": "999"}, b"{"), r"the answer broke off .*\(tried 2", 2),
        (said({"error": "no"}, 403), r"status 403 \(no\)\. `ollama list`", 1),
    ],
)
def test_a_server_that_goes_wrong(reply: Reply, words: str, times: int, served: Served) -> None:
    with answering(lambda asked: reply) as local:
        with pytest.raises(EngineError, match=words), Ollama(host=local.url, retries=1).open(served):
            pass
        assert len(local.asked) == times


def test_what_passes_is_tried_again_and_slowness_is_named(wording: Wording, served: Served) -> None:
    recorded, bad = Recorded(wording.tokens), [said({}, 503), (200, {}, b"<html>"), said({}, 429)]
    with (
        answering(lambda asked: bad.pop() if bad else recorded(asked)) as local,
        Ollama(host=local.url, retries=3).open(served) as session,
    ):
        assert session.generate([ASKED])[0].text.startswith("// sleepy-")

    def slow(asked: Asked) -> Reply:
        time.sleep(0.5)
        return recorded(asked)

    with (
        answering(slow) as local,
        pytest.raises(EngineError, match=r"no answer in time: raise engine\.timeout"),
        Ollama(host=local.url, retries=0, timeout=0.1).open(served),
    ):
        pass


@contextmanager
def real_server(folder: Path) -> Iterator[str]:
    """`ollama serve` with models of its own."""
    host = f"http://127.0.0.1:{free_port()}"
    env = {**os.environ, "OLLAMA_HOST": host, "OLLAMA_MODELS": str(folder)}
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(["ollama", "serve"], env=env, stdout=log, stderr=log)
    try:
        yield host
    finally:
        server.terminate()
        server.wait()


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("ollama") is None, reason="there is no program `ollama` on this machine")
def test_the_real_ollama_says_what_the_embedded_engine_says(
    served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_http, "FIRST_WAIT", 1.0)
    with LlamaCpp(threads=1, context=1024).open(served) as session:
        embedded = session.generate([ASKED])
    with real_server(tmp_path) as host, Ollama(host=host, context=1024).open(served) as session:
        (found,) = session.generate([ASKED])
    assert (found.text, found.prompt_tokens) == (embedded[0].text, embedded[0].prompt_tokens)
