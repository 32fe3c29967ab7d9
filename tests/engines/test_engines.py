"""Both engines on a real small model: the same model, the same template, the same words."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sleepy.artifacts import BaseModel, Check, Completion, Prompt, Served, Task
from sleepy.engines.engine import picker
from sleepy.engines.llama_cpp import LlamaCpp, LlamaSession
from sleepy.engines.transformers import Transformers, TransformersSession
from sleepy.errors import EngineError
from sleepy.pairs.builtin import load_pairs
from sleepy.repair.single_shot import SingleShot
from tests.adapters.made import tiny_base

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


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Served:
    """A model of random numbers, whose tokens are bytes."""
    base = tiny_base(tmp_path_factory.mktemp("tiny") / "qwen2")
    return Served(base.name, base.gguf, base.weights, base.digest)


@pytest.fixture(scope="module")
def llama(f16: Served) -> Iterator[LlamaSession]:
    with LlamaCpp(threads=1).open(f16) as session:
        yield session


@pytest.fixture(scope="module")
def huggingface(f16: Served) -> Iterator[TransformersSession]:
    with Transformers(device="cpu", precision="fp32").open(f16) as session:
        yield session


def test_engines_agree(llama: LlamaSession, huggingface: TransformersSession) -> None:
    ours, theirs = llama.generate(PROMPTS), huggingface.generate(PROMPTS)
    assert [c.prompt_tokens for c in ours] == [c.prompt_tokens for c in theirs]
    assert sum(a.text == b.text for a, b in zip(ours, theirs, strict=True)) >= 2
    assert all(c.text and "```" not in c.text and c.completion_tokens <= 40 and c.seconds > 0 for c in (*ours, *theirs))


def test_lookup_and_shared_prefix_do_not_change_the_answers(f16: Served, llama: LlamaSession) -> None:
    told: list[tuple[int, Completion]] = []
    found = llama.generate(PROMPTS, lambda index, completion: told.append((index, completion)))
    assert told == list(enumerate(found))
    together = [c.text for c in found]
    backwards = [c.text for c in llama.generate(PROMPTS[::-1])][::-1]
    alone = [llama.generate([p])[0].text for p in PROMPTS]
    drawn = [replace(p, temperature=0.7, seed=seed) for seed, p in enumerate(PROMPTS[:2])]
    with LlamaCpp(threads=1, lookup=False).open(f16) as session:
        assert together == backwards == alone == [c.text for c in session.generate(PROMPTS)]
        assert [c.text for c in llama.generate(drawn)] == [c.text for c in session.generate(drawn)]


def test_a_long_prefix_that_is_still_in_memory_is_not_read_again(
    llama: LlamaSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = "\n".join(f"    let n{i} = {i} * {i} + 1;" for i in range(12))
    talk = PROMPTS[0].messages[0], {"role": "user", "content": f"Repeat:\n{body}"}
    long = replace(PROMPTS[0], messages=talk, copy_from="", max_tokens=8)
    other = replace(long, prefill="Hello, my name is")
    read: list[int] = []
    decode = llama._decode
    monkeypatch.setattr(llama, "_decode", lambda tokens, *how: read.append(len(tokens)) or decode(tokens, *how))
    first, again, third, _ = llama.generate([long, long, other, PROMPTS[1]])
    assert first.prompt_tokens > 150 and sum(read) < 2 * first.prompt_tokens
    assert first.text == again.text and third.text == llama.generate([other])[0].text != first.text


def drawn(seed: int, temperature: float = 1.0) -> Prompt:
    return replace(PROMPTS[0], max_tokens=6, temperature=temperature, seed=seed)


@pytest.mark.parametrize("engine", ["llama", "huggingface"])
def test_a_seed_draws_the_same_answer_again_and_another_one_another(
    engine: str, request: pytest.FixtureRequest
) -> None:
    session = request.getfixturevalue(engine)
    one, two, greedy, cold, again = [
        c.text for c in session.generate([drawn(1), drawn(2), drawn(1, 0.0), drawn(1, 1e-4), drawn(1)])
    ]
    assert one == again and one != two and one != greedy and cold == greedy


def test_greedy_is_the_likeliest_token_whatever_a_model_s_own_settings_say(
    huggingface: TransformersSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    talk = ({"role": "user", "content": "Repeat: one two one two one two one two"},)
    asked = [replace(PROMPTS[0], messages=talk, max_tokens=12)]
    plain = huggingface.generate(asked)
    monkeypatch.setattr(huggingface._model.generation_config, "repetition_penalty", 9.0)
    assert huggingface.generate(asked)[0].text == plain[0].text


def test_a_token_is_drawn_as_often_as_its_probability_says() -> None:
    logits = np.log(np.array([1, 2, 5], dtype=np.float32))
    n = 4000
    for temperature, weights in ((1.0, [1, 2, 5]), (0.5, [1, 4, 25])):
        pick = picker(replace(PROMPTS[0], temperature=temperature, seed=3), n)
        counts = np.bincount([pick(logits, i) for i in range(n)])
        expected = n * np.array(weights) / sum(weights)
        assert ((counts - expected) ** 2 / expected).sum() < 14  # chi squared, 2 degrees of freedom: p = 0.001
    assert picker(PROMPTS[0], 1)(logits, 0) == 2


def test_identity_changes_with_what_changes_answers() -> None:
    assert LlamaCpp(threads=1).identity() == LlamaCpp(threads=2).identity() != LlamaCpp(lookup=False).identity()
    assert Transformers(precision="fp32").identity() != Transformers(precision="bf16").identity()
    known = Transformers().identity()
    assert known.keys() == {"engine", "transformers", "torch", "device", "precision"}
    assert known["engine"] == "transformers" and known["torch"]


def test_a_prompt_that_does_not_fit_is_an_engine_error(f16: Served) -> None:
    long = Prompt(({"role": "user", "content": "word " * 400},), "", ())
    with (
        LlamaCpp(context=256).open(f16) as session,
        pytest.raises(EngineError, match=r"has 4\d\d tokens.*engine\.context=256.*max_prompt"),
    ):
        session.generate([long])


TABLE = f"pub const P: [u32; 80] = [{', '.join(str(100003 + 97 * i) for i in range(80))}];\n"


def test_a_table_of_numbers_can_be_answered_whole(tiny: Served, koan: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    fix = TABLE.replace("u32; 80", "u32; 81").replace("];\n", ", 110000];\n")
    asked = SingleShot().first(replace(koan, broken=TABLE), Check("compile", "array of 81"))
    with LlamaCpp(threads=1).open(tiny) as session:
        said = session._copy(SingleShot().answer(fix))
        assert len(said) > 64 + len(TABLE) // 2  # letters do not say how long it is
        said += [0] * 32  # what a draft may go on with
        monkeypatch.setattr("sleepy.engines.llama_cpp.picker", lambda prompt, longest: lambda logits, n: said[n])
        (found,) = session.generate([asked])
        assert found.text == fix.rstrip("\n") and not found.cut
        said = session._copy(TABLE * 9)
        (endless,) = session.generate([asked])
        assert endless.cut and endless.completion_tokens == 64 + 3 * len(session._copy(asked.copy_from)) // 2


@pytest.mark.parametrize("engine", ["llama", "huggingface"])
def test_an_answer_that_is_cut_says_so(engine: str, request: pytest.FixtureRequest) -> None:
    session = request.getfixturevalue(engine)
    whole, cut = session.generate([PROMPTS[0], replace(PROMPTS[0], max_tokens=3)])
    assert (whole.cut, cut.cut, cut.completion_tokens) == (False, True, 3)


def test_want_of_room_is_said_with_the_tokens_counted(f16: Served, capsys: pytest.CaptureFixture[str]) -> None:
    tight = replace(PROMPTS[0], copy_from="fn f() {}\n" * 60, max_tokens=0)
    with LlamaCpp(context=256, threads=1).open(f16) as session:
        (found,) = session.generate([tight])
        needed = len(session._copy(tight.copy_from))
    said = capsys.readouterr().err
    assert f"longest prompt has {found.prompt_tokens} tokens, and the program to repeat {needed}" in said
    assert "engine.context=256" in said and "repair.max_prompt" in said and "1 of 1 answers may be cut" in said


def test_the_estimate_of_a_prompt_holds(f16: Served, llama: LlamaSession, koan: Task) -> None:
    odd = [TABLE, "// größe π 日本語 😀\n" * 20, "let x = 0x7fff_ffff;\n" * 20]
    tasks = [*load_pairs().tasks[::40], *(replace(koan, broken=text) for text in odd)]
    asked = [SingleShot(shots=2).first(t, Check("compile", t.message)) for t in tasks]
    counted = [len(llama._encode(p)) for p in asked]
    estimated = [SingleShot().size(p.messages) for p in asked]
    assert all(n <= e < 2.5 * n for n, e in zip(counted, estimated, strict=True))


def test_a_resumed_batch_is_answered_as_an_unbroken_one(tiny: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    talk = ({"role": "user", "content": TABLE[:200]},)
    prompts = [*PROMPTS, *(replace(PROMPTS[0], messages=talk, temperature=0.9, seed=seed) for seed in range(2))]
    read: list[tuple[list[int], int]] = []
    for engine in (LlamaCpp(threads=1), Transformers(device="cpu")):
        with engine.open(tiny) as session:
            if isinstance(session, LlamaSession):
                decode = session._decode

                def reading(tokens: list[int], at: int, *how: Any, decode: Any = decode) -> Any:
                    read.append((list(tokens), at))
                    return decode(tokens, at, *how)

                monkeypatch.setattr(session, "_decode", reading)
            marks, told = list[int](), list[int]()
            whole = session.generate(prompts, lambda i, c, marks=marks: marks.append(len(read)))
            last = read[marks[3] :]
            read.clear()
            rest = session.generate(prompts, lambda i, c, told=told: told.append(i), dict(enumerate(whole[:4])))
            assert told == [4] and rest[:4] == whole[:4] and rest[4].text == whole[4].text
            assert read[2:] == last  # after the shared prefix and the prompt before: nothing is parted elsewhere
            read.clear()


def test_a_missing_or_truncated_model_is_an_engine_error(f16: Served, tmp_path: Path) -> None:
    with (
        pytest.raises(EngineError, match=r"no model file .*run the export stage"),
        LlamaCpp(threads=1).open(Served("x", tmp_path / "no.gguf", tmp_path, "x")),
    ):
        pass
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(f16.gguf.read_bytes()[:2_000_000])
    with (
        pytest.raises(EngineError, match="may be truncated"),
        LlamaCpp(threads=1).open(Served("x", cut, tmp_path, "x")),
    ):
        pass
    with (
        pytest.raises(EngineError, match="transformers cannot load"),
        Transformers().open(Served("x", cut, tmp_path, "x")),
    ):
        pass
