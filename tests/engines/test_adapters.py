"""Adapters switched on a loaded SmolLM2: each says what its merged file says, in any order and company."""

from __future__ import annotations

import shutil
from dataclasses import replace

import pytest

from sleepy.artifacts import Adapter, BaseModel, HotAdapter, Prompt, Served
from sleepy.deliver.merge import Merge
from sleepy.engines.llama_cpp import LlamaCpp
from sleepy.engines.transformers import Transformers
from sleepy.errors import EngineError
from sleepy.gguf.adapter import adapter_gguf
from sleepy.gguf.header import read_header
from sleepy.gguf.write import write_f16
from tests.adapters.made import random_adapter, tiny_base

pytestmark = pytest.mark.slow  # together they are half a minute

Engine = LlamaCpp | Transformers
LLAMA, HF = LlamaCpp(threads=1, context=512), Transformers(device="cpu", precision="fp32")
PROMPTS = [
    Prompt(({"role": "system", "content": "You know Rust."}, {"role": "user", "content": text}), "In Rust,", (), "", 16)
    for text in ("What is ownership?", "Why is borrowing checked?", "What is a lifetime?")
]
SHORT = [replace(prompt, max_tokens=8) for prompt in PROMPTS[:2]]
BOTH = pytest.mark.parametrize(
    ("engine", "prompts"), [(LLAMA, PROMPTS), (HF, SHORT)], ids=["llama_cpp", "transformers"]
)


def hot(base: BaseModel, adapter: Adapter) -> HotAdapter:
    """A trained adapter as an engine takes it, named as its folder is."""
    name = adapter.folder.name
    path = adapter.folder.with_name(f"{name}.gguf")
    return HotAdapter(name, adapter_gguf(adapter, base, path, name).path, adapter.folder)


@pytest.fixture(scope="module")
def adapters(smollm2: BaseModel, tmp_path_factory: pytest.TempPathFactory) -> list[Adapter]:
    folder = tmp_path_factory.mktemp("hot")
    return [random_adapter(smollm2, folder / name, size) for name, size in (("day.1", 0.05), ("day.2", -0.05))]


@pytest.fixture(scope="module")
def served(smollm2: BaseModel, adapters: list[Adapter]) -> Served:
    return Served("smollm2", smollm2.gguf_f16, smollm2.weights, "x", tuple(hot(smollm2, a) for a in adapters))


@pytest.fixture(scope="module")
def merged(smollm2: BaseModel, adapters: list[Adapter], tmp_path_factory: pytest.TempPathFactory) -> Served:
    """SmolLM2 with the first of the adapters in its weights."""
    folder = tmp_path_factory.mktemp("merged")
    weights = Merge().merge(adapters[0], smollm2, folder / "weights")
    write_f16(weights, smollm2, folder / "f16.gguf", {})
    return Served("merged", folder / "f16.gguf", weights, "y")


def texts(engine: Engine, model: Served, *rounds: list[Prompt]) -> list[list[str]]:
    """What one session answers to each round of prompts."""
    with engine.open(model) as session:
        return [[answer.text for answer in session.generate(prompts)] for prompts in rounds]


def worn(name: str, prompts: list[Prompt]) -> list[Prompt]:
    return [replace(prompt, adapter=name) for prompt in prompts]


@BOTH
def test_an_adapter_says_what_its_merged_weights_say(
    engine: Engine, prompts: list[Prompt], served: Served, merged: Served
) -> None:
    plain, first, second, again = texts(
        engine, served, prompts, worn("day.1", prompts), worn("day.2", prompts), prompts
    )
    assert first == texts(engine, merged, prompts)[0]
    assert plain == again == texts(engine, replace(served, adapters=()), prompts)[0]
    assert all(len({*row}) == 3 for row in zip(plain, first, second, strict=True))


@BOTH
def test_mixed_prompts_come_back_in_order_and_as_if_asked_alone(
    engine: Engine, prompts: list[Prompt], served: Served
) -> None:
    order = ((0, "day.2"), (0, ""), (1, "day.1"), (1, "day.2"), (1, ""))
    mixed = [replace(prompts[i], adapter=name) for i, name in order]
    together, *alone = texts(engine, served, mixed, *([prompt] for prompt in mixed))
    assert together == [answer for one in alone for answer in one]
    assert len({*together}) == 5


@BOTH
def test_an_unknown_adapter_is_an_engine_error_before_anything_is_answered(
    engine: Engine, prompts: list[Prompt], tiny: Served
) -> None:
    answered: list[int] = []
    with engine.open(tiny) as session:
        with pytest.raises(EngineError, match=r"adapter 'night', expected one that tiny is served with \(whole, "):
            session.generate([prompts[0], *worn("night", prompts)], lambda place, completion: answered.append(1))
        assert not answered
        assert len(session.generate([prompts[0], *worn("whole", prompts)])) == 1 + len(prompts)


@pytest.fixture(scope="module")
def tiny(served: Served, tmp_path_factory: pytest.TempPathFactory) -> Served:
    """A tiny model, a sound adapter of it, and every kind of one that is not."""
    folder = tmp_path_factory.mktemp("tiny")
    base = tiny_base(folder / "llama", "llama")
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
    smollm2 = replace(served.adapters[0], name="smollm2")
    return Served("tiny", base.gguf_f16, base.weights, "z", (whole, other, model, smollm2, *bad))


def refuses(engine: Engine, model: Served, name: str, message: str) -> None:
    """The adapter is refused with `message`, and the session is what it was."""
    with engine.open(model) as session:
        before = session.generate(SHORT)[0].text
        with pytest.raises(EngineError, match=message):
            session.generate(worn(name, SHORT))
        assert session.generate(SHORT)[0].text == before


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing", "no adapter file .*export the adapter as GGUF first"),
        ("half", "found a truncated file .*make it again"),
        ("header", "found a damaged or truncated file .*expected GGUF"),
        ("empty", "found a damaged or truncated file"),
        ("text", "it begins with b'no a'"),
        ("typed", "expected a LoRA adapter with its alpha"),
        ("bare", "GGUF file of type adapter with 0 tensors, expected a LoRA adapter"),
        ("vast", "the adapter cannot be read: "),
        ("model", "GGUF file of type unknown with 20 tensors, expected a LoRA adapter"),
        ("other", "found an adapter for the architecture qwen2, but tiny is llama"),
        ("renamed", r"blk\.0\.ffn_no.* but tiny has no such weight there: this adapter is of another base model"),
        ("smollm2", r"\(576, 4\) x \(4, 1536\), but tiny has \(64, 128\) there: this adapter is of another"),
    ],
)
def test_llama_cpp_says_what_is_wrong_with_a_file(name: str, message: str, tiny: Served) -> None:
    refuses(LLAMA, tiny, name, message)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing", r"no PEFT adapter in .*adapter_config\.json"),
        ("model", r"no PEFT adapter in "),
        ("half", "PEFT cannot load .*it may be damaged"),
        ("text", "PEFT cannot load .*it may be damaged"),
        ("bare", "(?s)PEFT cannot load .*size mismatch.*it may be damaged"),
        ("typed", "PEFT cannot load .*NONE"),
        ("empty", "PEFT cannot load "),
        ("smollm2", r"\(576, 4\) x \(4, 1536\), but tiny has \(64, 128\) there: this adapter is of another"),
    ],
)
def test_transformers_says_what_is_wrong_with_a_folder(name: str, message: str, tiny: Served) -> None:
    refuses(HF, tiny, name, message)
