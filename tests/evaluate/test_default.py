"""An adapter that is measured hot or merged: chosen by cost, the same answers, nothing left behind."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hypothesis import given
from hypothesis import strategies as st

from sleepy.artifacts import Adapter, BaseModel, Task, TaskSet
from sleepy.engines.llama_cpp import LlamaCpp
from sleepy.engines.openai import OpenAI
from sleepy.errors import ConfigError, EngineError
from sleepy.evaluate.default import Evaluate
from sleepy.options import CONF, options, register
from sleepy.progress import Stages
from sleepy.routing.error_code import ErrorCode
from sleepy.routing.none import NoRouting
from sleepy.sandbox.checker import Checker
from sleepy.study.learner import Learner
from tests.adapters.made import random_adapter


def files(folder: Path, weights: int, adapter: int) -> tuple[Any, Any]:
    """A base model and an adapter of so many bytes."""
    folder.mkdir(exist_ok=True)
    for name, size in (("model.safetensors", weights), ("adapter_model.safetensors", adapter)):
        with (folder / name).open("wb") as file:
            file.truncate(size)
    return SimpleNamespace(weights=folder), SimpleNamespace(folder=folder)


@given(st.integers(1, 10**9), st.integers(1, 10**7), st.integers(1, 500))
def test_auto_merges_for_many_koans_a_small_model_or_a_large_adapter(
    tmp_path_factory: pytest.TempPathFactory, weights: int, adapter: int, koans: int
) -> None:
    folder, auto = tmp_path_factory.getbasetemp() / "sizes", Evaluate()
    found = auto.merges(koans, *files(folder, weights, adapter), LlamaCpp())
    if found:
        assert auto.merges(koans + 1, *files(folder, weights, adapter), LlamaCpp())
        assert auto.merges(koans, *files(folder, weights, 2 * adapter), LlamaCpp())
        assert auto.merges(koans, *files(folder, max(1, weights // 2), adapter), LlamaCpp())
    assert not auto.merges(koans, *files(folder, weights, adapter), OpenAI())
    assert not auto.merges(1, *files(folder, 10**9, 10**7), LlamaCpp())
    assert auto.merges(10**6, *files(folder, 10**9, 10**7), LlamaCpp())


def test_routed_adapters_and_those_of_a_server_cannot_be_merged() -> None:
    for engine, routing in ((LlamaCpp(), ErrorCode()), (OpenAI(), NoRouting())):
        with pytest.raises(ConfigError, match=r"evaluate\.adapter: found merged"):
            Evaluate(adapter="merged").check(engine, routing)
        for other in ("auto", "hot"):
            Evaluate(adapter=other).check(engine, routing)


@pytest.fixture
def learner(smollm2: BaseModel, koan: Task, checker: Checker, cache: Path, tmp_path: Path) -> Iterator[Learner]:
    register()
    said = [
        "engine.threads=1",
        f"episodes={tmp_path / 'episodes.db'}",
        f"cache={tmp_path}",
        f"track.folder={tmp_path / 'mlruns'}",
    ]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        opts = options(compose("config", ["model=smollm2-135m", "export.quantization=f16", *said]))
    base = replace(smollm2, gguf=smollm2.gguf_f16)  # hot on what the merged one is made of
    tracker, exam = opts["track"].open(), TaskSet("exam", "1", (koan,))
    with tracker.run(name="test", tags={}) as tracked:
        yield Learner(
            opts, opts["root"], "naive", base, exam, exam, checker, tracker, tracked, Stages(), tmp_path / "run"
        )


@pytest.mark.slow
def test_merged_answers_are_the_hot_ones_and_the_file_is_gone_afterwards(
    learner: Learner, smollm2: BaseModel, tmp_path: Path
) -> None:
    adapter: Adapter = random_adapter(smollm2, tmp_path / "adapter", 0.05)
    texts = {}
    for way in ("hot", "merged"):
        learner.options["evaluate"] = Evaluate(adapter=way)
        scores = learner.measure(learner.exam, adapter)
        texts[way] = scores.results[0].attempts[0].text
    plain = learner.measure(learner.exam).results[0].attempts[0].text
    assert texts["hot"] == texts["merged"] != plain
    with sqlite3.connect(tmp_path / "episodes.db") as store:
        rows = store.execute("select model, adapter from episodes order by rowid").fetchall()
    assert [a for _, a in rows] == [adapter.digest, adapter.digest, ""] and len({m for m, _ in rows}) == 3
    assert not list((tmp_path / "run").rglob("model*"))
    adapter = random_adapter(smollm2, tmp_path / "other", seed=8)
    learner.options["engine"] = LlamaCpp(context=256)  # too short: the run ends, and the file goes with it
    with pytest.raises(EngineError, match="context"):
        learner.measure(learner.exam, adapter)
    assert not list((tmp_path / "run").rglob("model*"))
