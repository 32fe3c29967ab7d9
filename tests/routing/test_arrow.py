"""Arrow over random adapters of a tiny model: what it adds, what it refuses, how an engine serves it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sleepy.artifacts import BaseModel, Check, HotAdapter, Prompt, Served, Task, TaskSet
from sleepy.engines.arrow import add_arrow, arrow_name, arrow_settings
from sleepy.engines.transformers import Transformers
from sleepy.errors import ConfigError, EngineError
from sleepy.routing.arrow import Arrow
from tests.adapters.made import random_adapter, tiny_base

HF = Transformers(device="cpu", precision="fp32")
PROMPT = Prompt(({"role": "user", "content": "What is ownership?"},), "In Rust,", (), "", 8)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> BaseModel:
    return tiny_base(tmp_path_factory.mktemp("tiny") / "llama", "llama")


@pytest.fixture(scope="module")
def folders(tiny: BaseModel, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Adapters of different numbers; the last of another rank."""
    folder = tmp_path_factory.mktemp("experts")
    for seed, name in enumerate(("one", "two", "four"), start=1):
        random_adapter(tiny, folder / name, 0.4, seed=seed)
    random_adapter(tiny, folder / "wide", 0.4, seed=9, rank=8)
    return {name: folder / name for name in ("one", "two", "four", "wide")}


def loaded(base: BaseModel, folders: dict[str, Path]) -> Any:
    """The model with adapters in it, none active yet but the first."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(base.weights, dtype="float32").eval()
    (first, folder), *others = folders.items()
    wrapped = PeftModel.from_pretrained(model, folder, first)
    for name, place in others:
        wrapped.load_adapter(place, name)
    return wrapped.eval()


def logits(model: Any, adapter: str) -> Any:
    """What the model says of a few tokens with one adapter on, or with none."""
    import torch

    tokens = torch.arange(100, 140).unsqueeze(0)
    with torch.inference_mode():
        if not adapter:
            with model.disable_adapter():
                return model(input_ids=tokens).logits
        model.set_adapter(adapter)
        return model(input_ids=tokens).logits


def some(folders: dict[str, Path], *names: str) -> dict[str, Path]:
    return {name: folders[name] for name in names}


def test_over_one_adapter_it_is_that_adapter(tiny: BaseModel, folders: dict[str, Path]) -> None:
    import torch

    model = loaded(tiny, some(folders, "one"))
    router = add_arrow(model, {"one": "one"}, 3, 1.0)
    assert torch.allclose(logits(model, router), logits(model, "one"), atol=1e-3)
    assert not torch.allclose(logits(model, router), logits(model, ""), atol=1e-1)


def test_at_a_great_temperature_it_is_the_mean_of_the_updates(tiny: BaseModel, folders: dict[str, Path]) -> None:
    import torch

    model = loaded(tiny, some(folders, "one", "two"))
    model.add_weighted_adapter(["one", "two"], [0.5, 0.5], "mean", combination_type="cat")
    mean = logits(model, "mean")
    model.delete_adapter("mean")  # or Arrow would take it for one of those to route to
    router = add_arrow(model, {"one": "one", "two": "two"}, 2, 1e6)
    assert torch.allclose(logits(model, router), mean, atol=1e-3)


def test_tokens_go_to_different_adapters(tiny: BaseModel, folders: dict[str, Path]) -> None:
    import torch

    names = {"one": "one", "two": "two"}
    model = loaded(tiny, some(folders, *names))
    router = add_arrow(model, names, 1, 1.0)
    found = {name: logits(model, name) for name in (*names, "", router)}

    layer = model.get_submodule("base_model.model.model.layers.0.self_attn.q_proj")
    tokens = torch.randn(1, 20, layer.in_features, generator=torch.Generator().manual_seed(1))
    out = {}
    for name in (*names, router):
        model.set_adapter(name)
        out[name] = layer(tokens)[0]
    near = [[torch.allclose(out[router][i], out[name][i], atol=1e-4) for name in names] for i in range(20)]
    assert {tuple(row) for row in near} == {(True, False), (False, True)}  # each token to one of them
    model.delete_adapter(router)
    found["all"] = logits(model, add_arrow(model, names, 2, 1e6))
    assert all(not torch.allclose(found[router], found[name], atol=1e-1) for name in found if name != router)
    assert torch.equal(found[""], logits(model, ""))


def test_adapters_in_other_layers_are_refused(tiny: BaseModel, folders: dict[str, Path]) -> None:
    from peft import LoraConfig

    model = loaded(tiny, some(folders, "one"))
    model.add_adapter("few", LoraConfig(r=4, target_modules=["v_proj"]))
    with pytest.raises(EngineError, match=r"q_proj has the ranks 4 \(one\), 0 \(few\): train all with the same"):
        add_arrow(model, {"one": "one", "few": "few"}, 2, 1.0)


def served(base: BaseModel, folders: dict[str, Path]) -> Served:
    hot = tuple(HotAdapter(name, folder / "unused.gguf", folder) for name, folder in folders.items())
    return Served("tiny", base.gguf_f16, base.weights, "x", hot)


def test_an_engine_serves_it_beside_its_adapters(tiny: BaseModel, folders: dict[str, Path], koan: Task) -> None:
    model = served(tiny, some(folders, "one", "two", "four"))
    everyone = Arrow(top_k=2).open(TaskSet("pairs", "1", ()), ["one", "two", "four"])(koan, Check("compile", ""))
    asked = [replace(PROMPT, adapter=name) for name in ("one", everyone, "", everyone, "two")]
    with HF.open(model) as session:
        together = [answer.text for answer in session.generate(asked)]
        assert session.generate(asked[3:4])[0].text == together[3]
        with pytest.raises(EngineError, match="the same Arrow settings"):
            session.generate([replace(PROMPT, adapter=arrow_name(1, 1.0))])
    with HF.open(model) as session:
        assert session.generate(asked[1:2])[0].text == together[1] == together[3]
    with HF.open(replace(model, adapters=())) as session:
        assert session.generate(asked[2:3])[0].text == together[2]
    assert len({*together}) == 4


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (("one", "wide"), r"equal rank in the same layers, but .* has the ranks 4 \(one\), 8 \(wide\)"),
        ((), "Arrow needs at least one adapter, but tiny is served without any"),
    ],
)
def test_an_engine_refuses_adapters_that_cannot_be_mixed(
    names: tuple[str, ...], words: str, tiny: BaseModel, folders: dict[str, Path]
) -> None:
    with HF.open(served(tiny, some(folders, *names))) as session, pytest.raises(EngineError, match=words):
        session.generate([replace(PROMPT, adapter=arrow_name(2, 1.0))])


@pytest.mark.parametrize(("top_k", "temperature"), [(1, 1.0), (3, 0.05), (12, 1e-5), (2, 1e22)])
def test_a_name_keeps_its_settings(top_k: int, temperature: float) -> None:
    assert arrow_settings(arrow_name(top_k, temperature)) == (top_k, temperature)


@pytest.mark.parametrize("name", ["", "arrow", "arc_moved_into_thread", "arrow:x:1.0", "day.1"])
def test_a_pattern_is_no_arrow(name: str) -> None:
    assert arrow_settings(name) is None


def test_it_needs_transformers_and_adapters() -> None:
    Arrow().check("transformers")
    with pytest.raises(ConfigError, match=r"which engine=llama_cpp cannot\. Add engine=transformers"):
        Arrow().check("llama_cpp")
    with pytest.raises(ConfigError, match="routing=arrow needs at least one adapter"):
        Arrow().open(TaskSet("pairs", "1", ()), [])
