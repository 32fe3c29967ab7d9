"""Where a model would leave a text, and how likely its answers are, against a plain forward pass."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sleepy.artifacts import BaseModel, Prompt, Served
from sleepy.engines.departures import Departures, log_sum
from sleepy.engines.engine import Session
from sleepy.engines.llama_cpp import LlamaCpp
from sleepy.engines.transformers import Transformers

PROGRAM = """fn total(items: &[u32]) -> u32 {
    let sum = 0;
    for item in items {
        sum += item;
    }
    sum
}"""
ASKED = Prompt(
    ({"role": "user", "content": f"Repair:\n```rust\n{PROGRAM}\n```"},),
    "```rust\n",
    ("\n```",),
    PROGRAM + "\n```",
    departures=12,
    scored=True,
)


@pytest.fixture(scope="module", params=["llama_cpp", "transformers"])
def session(request: pytest.FixtureRequest, smollm2: BaseModel) -> Iterator[Session]:
    served = Served("smollm2", smollm2.gguf_f16, smollm2.weights, "x")
    engine = LlamaCpp() if request.param == "llama_cpp" else Transformers(device="cpu", precision="fp32")
    with engine.open(served) as opened:
        yield opened


@pytest.fixture(scope="module")
def plain(smollm2: BaseModel) -> Any:
    """(prompt text, answer text) -> the answer's tokens, and (tokens, vocabulary) log-probabilities along it."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(smollm2.weights, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(smollm2.weights)

    def along(prompt: Prompt, answer: str) -> tuple[list[int], Any, Any]:
        head = tokenizer.apply_chat_template(list(prompt.messages), tokenize=False, add_generation_prompt=True)
        given = tokenizer(head + prompt.prefill, add_special_tokens=False).input_ids
        copy = tokenizer(answer, add_special_tokens=False).input_ids
        with torch.inference_mode():
            logits = model(torch.tensor([given + copy])).logits[0]
        return copy, logits[len(given) - 1 : -1].log_softmax(-1).numpy(), tokenizer

    return along


def test_departures_are_the_likeliest_other_tokens_of_a_plain_forward_pass(session: Session, plain: Any) -> None:
    (found,) = session.generate([ASKED])
    copy, rows, tokenizer = plain(ASKED, ASKED.copy_from)
    starts = {tokenizer.decode(copy[:i]): i for i in range(len(copy))}
    assert len(found.departures) == 12
    assert [d.chance for d in found.departures] == sorted((d.chance for d in found.departures), reverse=True)
    for d in found.departures:
        place = starts[d.before]
        (token,) = [
            t for t in range(rows.shape[1]) if rows[place, t] > d.chance - 0.2 and tokenizer.decode([t]) == d.token
        ]
        assert rows[place, token] == pytest.approx(d.chance, abs=0.05)  # f16 weights in another program's arithmetic
        assert d.so_far == pytest.approx(sum(rows[i, copy[i]] for i in range(place)), abs=0.1)
        assert not PROGRAM.startswith(d.before + d.token)
        assert d.instead == tokenizer.decode([copy[place]])
    rows[np.arange(len(copy)), copy] = -np.inf
    assert found.departures[0].chance == pytest.approx(rows.max(), abs=0.05)  # nothing likelier was passed over


def test_the_chance_of_an_answer_is_that_of_a_plain_forward_pass(session: Session, plain: Any) -> None:
    for begun in ("", "fn total(items: &[u32]) -> u32 {\n    let mut", PROGRAM.replace("let sum", "let mut sum")):
        (found,) = session.generate([replace(ASKED, departures=0, begun=begun, copy_from=ASKED.copy_from[30:])])
        copy, rows, _ = plain(ASKED, found.text + "\n```")
        assert found.text.startswith(begun) and found.chance is not None
        assert found.chance == pytest.approx(sum(rows[i, t] for i, t in enumerate(copy)), abs=0.3)


def test_an_answer_that_has_become_too_unlikely_is_given_up(session: Session) -> None:
    begun = replace(ASKED, departures=0, begun=PROGRAM[:40])
    (whole,) = session.generate([begun])
    assert whole.chance is not None
    (same,) = session.generate([replace(begun, least=whole.chance - 0.1)])
    assert same.text == whole.text
    (short,) = session.generate([replace(begun, least=whole.chance + 0.1)])
    assert whole.text.startswith(short.text) and short.completion_tokens <= whole.completion_tokens
    (none,) = session.generate([replace(begun, least=0.0)])
    assert none.completion_tokens < whole.completion_tokens


def test_questions_that_follow_are_answered_as_if_they_stood_alone(session: Session) -> None:
    other = replace(ASKED, messages=({"role": "user", "content": "Say hello."},), departures=0, max_tokens=20)
    more = [replace(ASKED, departures=0, begun=PROGRAM[:at]) for at in (80, 40)]
    heard: list[tuple[int, str]] = []

    def told(index: int, completion: Any) -> list[Prompt]:
        heard.append((index, completion.text))
        return more if len(heard) == 1 else []

    session.generate([ASKED, other], told)
    alone = [session.generate([p])[0].text for p in (ASKED, *more, other)]
    assert heard == list(zip([0, 0, 0, 1], alone, strict=True))


@given(st.data())
def test_departures_are_exact_whatever_the_rows(data: st.DataObject) -> None:
    size, count, length = data.draw(st.integers(3, 12)), data.draw(st.integers(1, 9)), data.draw(st.integers(1, 5))
    rows = np.array(
        data.draw(st.lists(st.permutations(range(size)), min_size=length, max_size=length)), dtype=np.float32
    )
    copy = data.draw(st.lists(st.integers(0, size - 1), min_size=length, max_size=length))
    found = Departures(copy, count, lambda tokens: bytes(65 + t for t in tokens), ())
    for place, row in enumerate(rows):
        assert found.read(row, place) == pytest.approx(float(row[copy[place]]) - log_sum(row))
    chances = [
        (float(row[t]) - log_sum(row), -place, chr(65 + t))
        for place, row in enumerate(rows)
        for t in range(size)
        if t != copy[place]
    ]
    best = sorted(chances, reverse=True)[:count]
    assert sorted((round(d.chance, 4) for d in found.found()), reverse=True) == [round(c, 4) for c, _, _ in best]
    assert len({(d.before, d.token) for d in found.found()}) == len(best)


def test_what_is_no_other_text_is_no_departure() -> None:
    words = {0: b"ab", 1: b"a", 2: b"\xc3", 3: b"", 4: b"x\n```", 5: b"c"}
    found = Departures([0, 5], 5, lambda tokens: b"".join(words[t] for t in tokens), ("\n```",))
    found.read(np.array([9, 8, 7, 6, 5, 4], dtype=np.float32), 0)
    assert [d.token for d in found.found()] == ["c"]  # not its beginning, half a character, a sign of the end, the stop


def test_a_departure_names_what_it_leaves() -> None:
    words = {0: b"a", 1: b"\xc3", 2: b"\xa9", 3: b"z"}
    found = Departures([0, 1, 2], 9, lambda tokens: b"".join(words[t] for t in tokens), ())
    for place in range(3):
        found.read(np.array([4, 3, 2, 1], dtype=np.float32), place)
    assert {(d.before, d.instead, d.token) for d in found.found()} == {
        ("", "a", "z"), ("a", "\u00e9", "a"), ("a", "\u00e9", "z")
    }  # fmt: skip
