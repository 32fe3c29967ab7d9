"""Adapters switched on a loaded tiny model: each says what its merged file says, in any order and company."""

from __future__ import annotations

import shutil
from dataclasses import replace

import pytest

from sleepy.artifacts import Adapter, BaseModel, HotAdapter, Prompt, Served
from sleepy.deliver.merge import merge
from sleepy.engines.llama_cpp import LlamaCpp
from sleepy.engines.transformers import Transformers
from sleepy.errors import EngineError
from sleepy.gguf.adapter import adapter_gguf
from sleepy.gguf.header import read_header
from sleepy.gguf.write import write_f16
from tests.adapters.made import random_adapter, tiny_base

Engine = LlamaCpp | Transformers
LLAMA, HF = LlamaCpp(threads=1, context=512), Transformers(device="cpu", precision="fp32")
PROMPTS = [
    Prompt(({"role": "system", "content": "You know Rust."}, {"role": "user", "content": text}), "In Rust,", (), "", 4)
    for text in ("What is ownership?", "Why is borrowing checked?", "What is a lifetime?", *"fghjkpqvwz")
]
SHORT = [replace(prompt, max_tokens=8) for prompt in PROMPTS[:2]]
BOTH = pytest.mark.parametrize("engine", [LLAMA, HF], ids=["llama_cpp", "transformers"])


def hot(base: BaseModel, adapter: Adapter) -> HotAdapter:
    """A trained adapter as an engine takes it, named as its folder is."""
    name = adapter.folder.name
    path = adapter.folder.with_name(f"{name}.gguf")
    return HotAdapter(name, adapter_gguf(adapter, base, path, name).path, adapter.folder)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> BaseModel:
    return tiny_base(tmp_path_factory.mktemp("base") / "llama", "llama")


@pytest.fixture(scope="module")
def adapters(base: BaseModel, tmp_path_factory: pytest.TempPathFactory) -> list[Adapter]:
    folder = tmp_path_factory.mktemp("hot")
    return [random_adapter(base, folder / name, size) for name, size in (("day.1", 0.3), ("day.2", -0.3))]


@pytest.fixture(scope="module")
def served(base: BaseModel, adapters: list[Adapter]) -> Served:
    return Served("tiny", base.gguf_f16, base.weights, "x", tuple(hot(base, a) for a in adapters))


@pytest.fixture(scope="module")
def merged(base: BaseModel, adapters: list[Adapter], tmp_path_factory: pytest.TempPathFactory) -> Served:
    """The model with the first of the adapters in its weights."""
    folder = tmp_path_factory.mktemp("merged")
    weights = merge(adapters[0], base, folder / "weights")
    write_f16(weights, base, folder / "f16.gguf", {})
    return Served("merged", folder / "f16.gguf", weights, "y")


def texts(engine: Engine, model: Served, *rounds: list[Prompt]) -> list[list[str]]:
    """What one session answers to each round of prompts."""
    with engine.open(model) as session:
        return [[answer.text for answer in session.generate(prompts)] for prompts in rounds]


def worn(name: str, prompts: list[Prompt]) -> list[Prompt]:
    return [replace(prompt, adapter=name) for prompt in prompts]


def alike(one: list[str], two: list[str]) -> int:
    """How many answers are the same, of 13: a near-tie of a random model may fall to either side."""
    return sum(a == b for a, b in zip(one, two, strict=True))


@BOTH
def test_an_adapter_says_what_its_merged_weights_say(engine: Engine, served: Served, merged: Served) -> None:
    plain, first, second, again = texts(engine, served, PROMPTS, *(worn(f"day.{i}", PROMPTS) for i in (1, 2)), PROMPTS)
    assert alike(first, texts(engine, merged, PROMPTS)[0]) >= 10
    assert plain == again == texts(engine, replace(served, adapters=()), PROMPTS)[0]
    assert max(alike(plain, first), alike(plain, second), alike(first, second)) <= 2


@BOTH
def test_mixed_prompts_come_back_in_order_and_as_if_asked_alone(engine: Engine, served: Served) -> None:
    order = ((0, "day.2"), (0, ""), (1, "day.1"), (1, "day.2"), (1, ""))
    mixed = [replace(SHORT[i], adapter=name) for i, name in order]
    together, *alone = texts(engine, served, mixed, *([prompt] for prompt in mixed))
    assert together == [answer for one in alone for answer in one]
    assert len({*together}) == 5


@BOTH
def test_an_unknown_adapter_is_an_engine_error_before_anything_is_answered(engine: Engine, tiny: Served) -> None:
    answered: list[int] = []
    with engine.open(tiny) as session:
        with pytest.raises(EngineError, match=r"adapter 'night', which tiny does not have \(its adapters: whole, "):
            session.generate([SHORT[0], *worn("night", SHORT)], lambda index, completion: answered.append(1))
        assert not answered
        assert len(session.generate([SHORT[0], *worn("whole", SHORT)])) == 3


@pytest.fixture(scope="module")
def tiny(base: BaseModel, smollm2: BaseModel, tmp_path_factory: pytest.TempPathFactory) -> Served:
    """The model with a sound adapter, and with every kind of one that is not."""
    folder = tmp_path_factory.mktemp("tiny")
    whole = hot(base, random_adapter(base, folder / "whole"))
    qwen2 = tiny_base(folder / "qwen2")
    other = hot(qwen2, random_adapter(qwen2, folder / "other"))
    gguf, header, alpha = whole.gguf.read_bytes(), read_header(whole.gguf), b"adapter.lora.alpha"
    files = {
        "half": gguf[: len(gguf) // 2],
        "header": gguf[:200],
        "empty": b"",
        "bare": replace(header, tensors={}).packed(),
        "vast": replace(header, tensors={"blk.0.ffn_up.weight.lora_a": ((2**63, 64), 0, 0)}).packed(),
        "text": b"no adapter",
        "typed": gguf.replace(alpha + b"\x06", alpha + b"\x04"),  # alpha as a whole number
        "renamed": gguf.replace(b".ffn_up.", b".ffn_no."),
    }
    bad = [HotAdapter("missing", folder / "missing.gguf", folder / "missing")]
    for name, content in files.items():
        bad.append(HotAdapter(name, folder / f"{name}.gguf", shutil.copytree(whole.folder, folder / name)))
        bad[-1].gguf.write_bytes(content)
    tensors, config = "adapter_model.safetensors", "adapter_config.json"
    (folder / "half" / tensors).write_bytes((whole.folder / tensors).read_bytes()[:9000])
    (folder / "text" / tensors).write_bytes(b"no adapter")
    (folder / "typed" / config).write_text('{"peft_type": "NONE"}')
    (folder / "empty" / config).write_text("")
    ranks = (folder / "bare" / config).read_text().replace('"rank_pattern": {}', '"rank_pattern": {"up_proj": 8}')
    (folder / "bare" / config).write_text(ranks)
    model = HotAdapter("model", base.gguf_f16, base.weights)
    large = hot(smollm2, random_adapter(smollm2, folder / "large"))
    return Served("tiny", base.gguf_f16, base.weights, "z", (whole, other, model, large, *bad))


@pytest.mark.parametrize(
    ("engine", "refusals"),
    [
        (
            LLAMA,
            {
                "missing": "no adapter file .*export the adapter as GGUF first",
                "half": "is truncated",
                "header": "is damaged, truncated",
                "empty": "is damaged, truncated",
                "text": "it begins with b'no a'",
                "typed": "not a LoRA adapter with its alpha",
                "bare": "GGUF file of type adapter with 0 tensors, not a LoRA adapter",
                "vast": "The adapter cannot be read: ",
                "model": "GGUF file of type unknown with 20 tensors, not a LoRA adapter",
                "other": "an adapter for the architecture qwen2, but tiny is llama",
                "renamed": r"blk\.0\.ffn_no.* but tiny has no such weight there: the adapter belongs to another base",
                "large": r"\(576, 4\) x \(4, 1536\), but tiny has \(64, 128\) there: the adapter belongs to another",
            },
        ),
        (
            HF,
            {
                "missing": r"holds no PEFT adapter \(adapter_config\.json",
                "model": "holds no PEFT adapter ",
                "half": "PEFT cannot load .*it may be damaged",
                "text": "PEFT cannot load .*it may be damaged",
                "bare": "(?s)PEFT cannot load .*size mismatch.*it may be damaged",
                "typed": "PEFT cannot load .*NONE",
                "empty": "PEFT cannot load ",
                "large": r"\(576, 4\) x \(4, 1536\), but tiny has \(64, 128\) there: the adapter belongs to another",
            },
        ),
    ],
    ids=["llama_cpp", "transformers"],
)
def test_a_bad_adapter_is_refused_in_words_and_leaves_the_session_as_it_was(
    engine: Engine, refusals: dict[str, str], tiny: Served
) -> None:
    with engine.open(tiny) as session:
        before = session.generate(SHORT)
        for name, message in refusals.items():
            with pytest.raises(EngineError, match=message):
                session.generate(worn(name, SHORT))
            assert [c.text for c in session.generate(SHORT)] == [c.text for c in before], name
