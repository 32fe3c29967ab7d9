"""OpenAI's protocol: the real server of llama-cpp-python with SmolLM2."""

from __future__ import annotations

import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import replace

import pytest

from sleepy.artifacts import Check, Completion, Prompt, Served
from sleepy.engines.llama_cpp import LlamaCpp
from sleepy.engines.openai import OpenAI
from sleepy.errors import EngineError
from sleepy.exam.builtin import every_koan
from sleepy.repair.single_shot import SingleShot
from sleepy.rust.length import at_most_tokens
from tests.engines.conftest import KEY
from tests.engines.serving import free_port

pytestmark = pytest.mark.usefixtures("fast")


@pytest.fixture(scope="module")
def url(served: Served, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """llama-cpp-python's server with SmolLM2, as a process of its own."""
    port, log = free_port(), tmp_path_factory.mktemp("server") / "log"
    options = {"model": served.gguf, "model_alias": "smol", "port": port, "host": "127.0.0.1", "api_key": KEY}
    options |= {"n_threads": 1, "n_threads_batch": 1, "n_ctx": 1024, "verbose": False}
    words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    with log.open("wb") as out:
        server = subprocess.Popen([sys.executable, "-m", "llama_cpp.server", *words], stdout=out, stderr=out)
    base = f"http://127.0.0.1:{port}/v1"
    request = urllib.request.Request(f"{base}/models", headers={"Authorization": f"Bearer {KEY}"})
    try:
        for _ in range(600):
            try:
                urllib.request.urlopen(request, timeout=5).close()
                break
            except OSError:
                assert server.poll() is None, log.read_text()
                time.sleep(0.1)
        yield base
    finally:
        server.terminate()
        server.wait()


@pytest.fixture(scope="module")
def prompts() -> list[Prompt]:
    """What is asked about the first short koans."""
    tasks = [task for task in every_koan() if len(task.broken) < 300][:3]
    failed = Check("compile", "error: it does not compile")
    return [replace(SingleShot().first(task, failed), max_tokens=16) for task in tasks]


@pytest.fixture(scope="module")
def embedded(served: Served, prompts: list[Prompt]) -> list[Completion]:
    """What the embedded engine says."""
    with LlamaCpp(threads=1, context=1024).open(served) as session:
        return session.generate(prompts)


@pytest.mark.parametrize("parallel", [1, pytest.param(3, marks=pytest.mark.slow)])
def test_a_real_server_says_what_the_embedded_engine_says(
    url: str, served: Served, prompts: list[Prompt], embedded: list[Completion], parallel: int
) -> None:
    heard: dict[int, Completion] = {}
    with OpenAI(base_url=url, parallel=parallel).open(served) as session:
        ours = session.generate(prompts, heard.__setitem__)
    assert [c.text for c in ours] == [c.text for c in embedded]
    assert [(c.prompt_tokens, c.cut) for c in ours] == [(c.prompt_tokens, c.cut) for c in embedded]
    assert [heard[i] for i in range(len(prompts))] == ours
    assert len({c.text for c in ours}) == len(prompts) and all(0 < c.completion_tokens <= 16 for c in ours)


@pytest.mark.slow
def test_a_chat_server_renders_the_same_template(url: str, served: Served) -> None:
    said_what = "Write a Rust program that prints 1. Answer in one code block."
    asked = Prompt(({"role": "user", "content": said_what},), "```rust\n", ("\n```",), max_tokens=24)
    with LlamaCpp(threads=1, context=1024).open(served) as session:
        free = session.generate([replace(asked, prefill="", stop=(), max_tokens=24 + at_most_tokens(asked.prefill))])[
            0
        ].text
    with OpenAI(base_url=url, chat=True).open(served) as session:
        ours = session.generate([asked])[0]
    assert "```rust\n" in free and ours.text == free.split("```rust\n")[1].split("\n```")[0]


@pytest.mark.slow
def test_a_drawn_answer_repeats_with_its_seed(url: str, served: Served, prompts: list[Prompt]) -> None:
    drawn = [replace(prompts[0], temperature=1.5, seed=seed, max_tokens=12) for seed in (1, 1, 2)]
    with OpenAI(base_url=url).open(served) as session:
        one, again, other = (c.text for c in session.generate(drawn))
    assert one == again != other


def test_a_real_server_refuses_a_wrong_key(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-wrong")
    with pytest.raises(EngineError, match=r"status 401.*variable OPENAI_API_KEY is not accepted") as refused:
        OpenAI(base_url=url).identity()
    assert "sk-wrong" not in str(refused.value)
    monkeypatch.delenv("OPENAI_API_KEY")
    with pytest.raises(EngineError, match="OPENAI_API_KEY is empty or not set"):
        OpenAI(base_url=url).identity()


def test_a_prompt_too_long_for_a_real_server_is_an_engine_error(url: str, served: Served) -> None:
    long = Prompt(({"role": "user", "content": "word " * 1100},), "", ())
    with (
        OpenAI(base_url=url, retries=0).open(served) as session,
        pytest.raises(EngineError, match="maximum context length is 1024"),
    ):
        session.generate([long])


def test_an_adapter_that_the_server_does_not_list_is_an_engine_error(
    url: str, served: Served, prompts: list[Prompt]
) -> None:
    heard: list[int] = []
    with (
        OpenAI(base_url=url).open(served) as session,
        pytest.raises(EngineError, match=r"does not list the adapter night: load it there under that name"),
    ):
        session.generate([prompts[0], replace(prompts[1], adapter="night")], lambda i, c: heard.append(i))
    assert not heard


def test_identity_has_url_and_model_but_no_key(url: str) -> None:
    found = OpenAI(base_url=url + "/").identity()
    assert (found["base_url"], found["model"]) == (url, "smol")
    assert KEY not in str(found)
    named = OpenAI(base_url="http://x/v1", model="a", timeout=3, retries=0)
    assert named.identity() == replace(named, timeout=9, key_variable="OTHER").identity()
    assert named.identity() != replace(named, model="b").identity() != replace(named, base_url="http://y").identity()
    assert named.identity() != replace(named, chat=True).identity()
