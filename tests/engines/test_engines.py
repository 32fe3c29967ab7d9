"""Both engines on a real small model: the same model, the same template, the same words."""

from __future__ import annotations

from pathlib import Path

import pytest

from sleepy.artifacts import BaseModel, Prompt, Served
from sleepy.engines.llama_cpp import LlamaCpp
from sleepy.engines.transformers import Transformers
from sleepy.errors import EngineError

PROGRAM = "fn add(a: i32, b: i32) -> i32 {\n    a + b\n}"
PROMPTS = [
    Prompt(
        (
            {"role": "system", "content": "You repeat programs."},
            {"role": "user", "content": f"Repeat:\n```rust\n{PROGRAM.replace('add', name)}\n```"},
        ),
        "```rust\n",
        ("\n```",),
        PROGRAM.replace("add", name),
        40,
    )
    for name in ("add", "sum", "plus")
]


@pytest.fixture(scope="module")
def f16(smollm2: BaseModel) -> Served:
    return Served("smollm2", smollm2.gguf_f16, smollm2.weights, "x")


def test_engines_agree(f16: Served) -> None:
    with LlamaCpp().open(f16) as one, Transformers(device="cpu", precision="fp32").open(f16) as two:
        ours, theirs = one.generate(PROMPTS), two.generate(PROMPTS)
    assert [c.prompt_tokens for c in ours] == [c.prompt_tokens for c in theirs]
    assert sum(a.text == b.text for a, b in zip(ours, theirs, strict=True)) >= 2
    assert all(c.text and "```" not in c.text and c.completion_tokens <= 40 and c.seconds > 0 for c in (*ours, *theirs))


def test_lookup_and_shared_prefix_do_not_change_the_answers(f16: Served) -> None:
    with LlamaCpp().open(f16) as session:
        together = [c.text for c in session.generate(PROMPTS)]
        backwards = [c.text for c in session.generate(PROMPTS[::-1])][::-1]
        alone = [session.generate([p])[0].text for p in PROMPTS]
    with LlamaCpp(lookup=False).open(f16) as session:
        plain = [c.text for c in session.generate(PROMPTS)]
    assert together == backwards == alone == plain


def test_identity_changes_with_what_changes_answers() -> None:
    assert LlamaCpp(threads=1).identity() == LlamaCpp(threads=2).identity() != LlamaCpp(lookup=False).identity()
    assert Transformers(precision="fp32").identity() != Transformers(precision="bf16").identity()


def test_a_prompt_that_does_not_fit_is_an_engine_error(f16: Served) -> None:
    long = Prompt(({"role": "user", "content": "word " * 400},), "", ())
    with LlamaCpp(context=256).open(f16) as session, pytest.raises(EngineError, match=r"context 256.*engine\.context"):
        session.generate([long])


def test_a_missing_or_truncated_model_is_an_engine_error(f16: Served, tmp_path: Path) -> None:
    with (
        pytest.raises(EngineError, match="no model file"),
        LlamaCpp().open(Served("x", tmp_path / "no.gguf", tmp_path, "x")),
    ):
        pass
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(f16.gguf.read_bytes()[:2_000_000])
    with pytest.raises(EngineError, match="may be truncated"), LlamaCpp().open(Served("x", cut, tmp_path, "x")):
        pass
    with (
        pytest.raises(EngineError, match="transformers cannot load"),
        Transformers().open(Served("x", cut, tmp_path, "x")),
    ):
        pass
