"""The adapter's shape: layers that are there, and a config that other programs read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sleepy.artifacts import BaseModel
from sleepy.errors import ConfigError
from sleepy.options import problems_of
from sleepy.train.lora import Lora
from tests.adapters.made import tiny_base
from tests.train.fitting import fit


@pytest.mark.parametrize(("targets", "words"), [
    (["q_proj", "v_porj"], r"tiny-qwen2 has no linear layer called v_porj. Did you mean v_proj"),
    (["nope"], "called nope. It has down_proj, gate_proj"),
    (["q_proj", "lm_head"], r"called lm_head \(a head that is tied"),
    (["embed_tokens"], "called embed_tokens"), (["q_proj.weight"], "called q_proj.weight"), (["proj"], "called proj"),
])  # fmt: skip
def test_layers_that_are_not_there_are_refused_with_the_nearest(
    tiny: BaseModel, targets: list[str], words: str
) -> None:
    with pytest.raises(ConfigError, match=rf"lora\.target_modules: .*{words}"):
        Lora(target_modules=targets).check(tiny)


def test_layers_that_are_there_are_not_refused(tiny: BaseModel, tmp_path: Path) -> None:
    for targets in (["all-linear"], ["q_proj", "down_proj"], ["mlp.up_proj"], ["model.layers.0.self_attn.k_proj"]):
        Lora(target_modules=targets).check(tiny)
    Lora(target_modules=["lm_head"]).check(tiny_base(tmp_path / "untied", head="own"))


def test_all_linear_stands_alone() -> None:
    (problem,) = problems_of(Lora(target_modules=["all-linear", "q_proj"]), "lora")
    assert problem.startswith("lora.target_modules must be all-linear alone or layer names, not all-linear, q_proj")


@pytest.mark.parametrize(("alpha", "written"), [(16.0, "16"), (2.5, "2.5")])
def test_a_whole_alpha_is_written_as_ollama_reads_it(
    tiny: BaseModel, tmp_path: Path, alpha: float, written: str
) -> None:
    fit(tiny, tmp_path, lora=Lora(r=4, alpha=alpha), steps=1)
    config = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    assert json.dumps(config["lora_alpha"]) == written
