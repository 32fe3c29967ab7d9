"""OpenAI's protocol: what is sent, and what a user is told about a server that goes wrong."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sleepy.artifacts import Completion, Prompt, Served
from sleepy.engines._server import Template
from sleepy.engines.openai import OpenAI
from sleepy.errors import EngineError
from sleepy.options import problems_of
from tests.engines.conftest import KEY
from tests.engines.serving import Asked, Reply, answering, free_port, in_turn, said

pytestmark = pytest.mark.usefixtures("fast")

USAGE = {"prompt_tokens": 9, "completion_tokens": 4}
CHAT = {"choices": [{"message": {"content": "Here:\n```rust\nfn main() {}\n```\n"}}], "usage": USAGE}
ASKED = Prompt(({"role": "user", "content": "Repair."},), "```rust\n", ("\n```",), max_tokens=7)
NOWHERE = Served("x", Path("x.gguf"), Path("x"), "x")


def ask(url: str, options: OpenAI, prompts: list[Prompt] | None = None) -> list[Completion]:
    """What a chat server says; no tokenizer is needed for it."""
    with replace(options, base_url=url, model="m", chat=True).open(NOWHERE) as session:
        return session.generate(prompts or [ASKED])


def test_what_a_chat_server_is_sent_and_what_is_taken_from_its_answer() -> None:
    with answering(lambda asked: said(CHAT)) as local:
        assert [c.text for c in ask(local.url, OpenAI(extra={"top_k": 0, "seed": None}))] == ["fn main() {}"]
    (request,) = local.asked
    assert (request.method, request.path) == ("POST", "/chat/completions")  # 12: of 7 tokens, and the prefill's 5
    assert request.headers["authorization"] == f"Bearer {KEY}"
    assert request.json == {
        "model": "m", "messages": [{"role": "user", "content": "Repair."}], "max_tokens": 12, "temperature": 0.0,
        "top_p": 1.0, "top_k": 0,
    }  # fmt: skip


@pytest.mark.parametrize(("text", "reason", "cut"), [
    ("```rust\nfn main() {", "length", True), ("```rust\nfn main() {}\n```\nThis", "length", False),
    ("```rust\nfn main() {", "stop", False),
])  # fmt: skip
def test_an_answer_is_cut_if_the_program_is(text: str, reason: str, cut: bool) -> None:
    reply = {"choices": [{"message": {"content": text}, "finish_reason": reason}], "usage": USAGE}
    with answering(lambda asked: said(reply)) as local:
        assert ask(local.url, OpenAI())[0].cut is cut


@pytest.mark.parametrize("bad", [said({"error": "loading"}, 503), said({}, 429, {"Retry-After": "0"})])
def test_a_busy_server_is_asked_again(bad: Reply) -> None:
    with answering(in_turn(bad, bad, said(CHAT))) as local:
        assert ask(local.url, OpenAI(retries=2))[0].text == "fn main() {}"
        assert len(local.asked) == 3
    with answering(lambda asked: bad) as local:
        with pytest.raises(EngineError, match=f"status {bad[0]} .*It stayed so after all retries"):
            ask(local.url, OpenAI(retries=2))
        assert len(local.asked) == 3


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (said({"error": f"no such key: {KEY}"}, 401), r"status 401 .*no such key: \*\*\*.*OPENAI_API_KEY is not acc"),
        (said({"error": "no such model"}, 404), "status 404 .*no such model.*engine.model"),
        (said({"error": "unknown field top_k"}, 400), "unknown field top_k.*engine.extra"),
        (said({"choices": []}), "did not answer with a completion and its number of tokens"),
        (said({**CHAT, "usage": None}), "did not answer with a completion and its number of tokens"),
        ((200, {}, b"<html>"), "not answer with a JSON object, but with: <html>. Is it an OpenAI-compatible server"),
        ((200, {"Content-Length": "999"}, b"{"), "the connection failed"),
    ],
)
def test_what_will_not_pass_is_said_at_once(reply: Reply, words: str) -> None:
    with answering(lambda asked: reply) as local:
        with pytest.raises(EngineError, match=words) as refused:
            ask(local.url, OpenAI())
        assert len(local.asked) == 1
    assert KEY not in str(refused.value)


def test_a_redirect_is_named_and_not_followed() -> None:
    with (
        answering(lambda asked: said({"data": [{"id": "m"}]})) as other,
        answering(lambda asked: (302, {"Location": f"{other.url}/models"}, b"")) as local,
        pytest.raises(EngineError, match=f"moved to {other.url}/models: correct engine.base_url"),
    ):
        OpenAI(base_url=local.url).identity()
    assert len(local.asked) == 1 and not other.asked


def test_nobody_listening_and_nobody_answering() -> None:
    with pytest.raises(EngineError, match=r"No server answers at http://127.0.0.1:\d+: start it"):
        ask(f"http://127.0.0.1:{free_port()}", OpenAI(retries=1))
    late = threading.Event()

    def slow(asked: Asked) -> Reply:
        late.wait(30)
        return said(CHAT)

    with answering(slow) as local:
        with pytest.raises(EngineError, match=r"no answer within 0.2 s. Raise engine.timeout"):
            ask(local.url, OpenAI(retries=1, timeout=0.2))
        late.set()
    assert len(local.asked) == 2


def test_which_model_of_several() -> None:
    lists = {"data": [{"id": "one"}, {"id": "adapter", "parent": "one"}]}
    with answering(lambda asked: said(lists)) as local:
        assert OpenAI(base_url=local.url).identity()["model"] == "one"
        lists["data"].append({"id": "two"})
        with pytest.raises(EngineError, match=r"lists 2 models \(one, two\): choose one with engine.model"):
            OpenAI(base_url=local.url).identity()
        lists["data"] = [{"name": "one"}]
        with pytest.raises(EngineError, match=r"lists no models .*set engine.model"):
            OpenAI(base_url=local.url).identity()


@pytest.mark.parametrize("model", ["", "m"])
def test_a_server_that_says_it_has_another_model_is_refused(served: Served, model: str) -> None:
    import llama_cpp

    loaded = llama_cpp.Llama(str(served.gguf), verbose=False)
    counts = {"n_params": llama_cpp.llama_model_n_params, "size": llama_cpp.llama_model_size}  # what llama-server tells
    ours = {key: count(loaded.model) for key, count in counts.items()}
    told: Any = None
    with answering(lambda asked: said({"data": [{"id": "m", "meta": told}]})) as local:
        options = OpenAI(base_url=local.url, model=model)
        for sound in ({}, None, ours, {"n_params": "many"}):
            told = sound
            with options.open(served):
                pass
        for other, words in (
            ({"n_params": 70e9}, r"says that m has 70,000,000,000.* parameters, but .*Q4_1.gguf has 134,515,008"),
            ({**ours, "size": 145_000_000}, "has 145,000,000 bytes, but .*another model"),
        ):
            told = other
            with pytest.raises(EngineError, match=words), options.open(served):
                pass
    with answering(lambda asked: said({}, 404)) as local, OpenAI(base_url=local.url, model="m").open(served):
        assert len(local.asked) == 1  # a server without a list is not asked again


def test_a_listed_adapter_answers_as_the_model_of_its_name() -> None:
    lists = {"data": [{"id": "m"}, {"id": "night", "parent": "m"}]}
    with answering(lambda asked: said(lists if asked.method == "GET" else CHAT)) as local:
        ask(local.url, OpenAI(), [ASKED, replace(ASKED, adapter="night")])
    assert [asked.json["model"] for asked in local.asked if asked.body] == ["m", "night"]


def test_a_server_that_counts_other_tokens_serves_something_else(served: Served) -> None:
    with (
        answering(lambda asked: said({"choices": [{"text": "fn main() {}"}], "usage": USAGE})) as local,
        OpenAI(base_url=local.url, model="m").open(served) as session,
        pytest.raises(EngineError, match=r"counted 9 tokens in a prompt that has \d\d for smollm2"),
    ):
        session.generate([ASKED])


def test_the_token_that_servers_put_before_every_text_is_left_to_them(served: Served, tmp_path: Path) -> None:
    from tokenizers.processors import TemplateProcessing
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(served.weights)
    text = Template(served).text(ASKED)
    assert text.startswith("<|im_start|>system\n") and text.endswith(
        "Repair.<|im_end|>\n<|im_start|>assistant\n```rust\n"
    )
    begin = (tokenizer.bos_token, tokenizer.bos_token_id)
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single=f"{begin[0]} $A", special_tokens=[begin])
    tokenizer.save_pretrained(tmp_path)
    assert begin[0] + Template(replace(served, weights=tmp_path)).text(ASKED) == text


def test_a_server_cannot_have_become_the_exported_model(served: Served) -> None:
    options = OpenAI(base_url="http://127.0.0.1:1/v1", model="m", chat=True)
    for _ in range(2):
        with options.open(served):
            pass
    other = replace(served, gguf=Path("other.gguf"))
    with pytest.raises(EngineError, match=r"cannot answer for other\.gguf"), options.open(other):
        pass
    with OpenAI(base_url="http://127.0.0.1:1/v1", model="m", chat=True).open(other):
        pass  # another run's engine


def test_answers_come_at_once_and_keep_their_places() -> None:
    meet = threading.Barrier(3, timeout=30)

    def answer(asked: Asked) -> Reply:
        meet.wait()
        return said({**CHAT, "choices": [{"message": asked.json["messages"][0]}]})

    with answering(answer) as local:
        prompts = [replace(ASKED, messages=({"role": "user", "content": f"{i}"},)) for i in range(6)]
        assert [c.text for c in ask(local.url, OpenAI(parallel=3), prompts)] == [f"{i}" for i in range(6)]


def test_a_failure_waits_for_no_answer_and_ends_all() -> None:
    over = threading.Event()

    def answer(asked: Asked) -> Reply:
        if "fine" not in str(asked.json["messages"]):
            return said({"error": "no"}, 400)
        over.wait(300)
        return said(CHAT)

    good = replace(ASKED, messages=({"role": "user", "content": "fine"},))
    with answering(answer) as local:
        with pytest.raises(EngineError, match="status 400"):
            ask(local.url, OpenAI(parallel=2), [good, ASKED, *[good] * 50])
        assert not over.is_set() and len(local.asked) <= 4
        over.set()


def test_ctrl_c_does_not_wait_for_answers() -> None:
    """A process of its own is interrupted while the server thinks."""
    code = (
        "import signal, sys; from tests.engines.test_openai_calls import ASKED, OpenAI, ask\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # a background job starts without one
        "ask(sys.argv[1], OpenAI(parallel=2), [ASKED] * 5)"
    )
    arrived, late = threading.Event(), threading.Event()

    def answer(asked: Asked) -> Reply:
        arrived.set()
        late.wait(300)
        return said(CHAT)

    with answering(answer) as local:
        root = Path(__file__).parents[2]
        command = [sys.executable, "-c", code, local.url]
        process = subprocess.Popen(command, cwd=root, stderr=subprocess.PIPE, text=True, env={**os.environ})
        assert arrived.wait(120)
        process.send_signal(signal.SIGINT)
        _, words = process.communicate(timeout=120)  # it ends, though no answer ever came
        late.set()
    assert "KeyboardInterrupt" in words and process.returncode != 0


def test_what_a_config_may_not_say() -> None:
    for sound in ("http://localhost:8080/v1", "https://host/a/v1/", "http://[::1]:8080", "http://10.0.0.1"):
        assert not problems_of(OpenAI(base_url=sound), "engine")
    for wrong in (
        "localhost:8080/v1", "file:///etc", "http://me:word@host/v1", "http://host/v1?key=word", "http://[x/v1",
        "http://x:y",
    ):  # fmt: skip
        (line,) = problems_of(OpenAI(base_url=wrong), "engine")
        assert line.startswith("engine.base_url must be a URL") and "word" not in line.replace("password", "")


def test_a_key_that_no_header_can_carry_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-sécret")
    with pytest.raises(EngineError, match="OPENAI_API_KEY has invalid characters") as refused:
        OpenAI().identity()
    assert "cret" not in str(refused.value)
