"""General ability: against the divergence over the whole vocabulary, from weights that the test adds up itself."""

from __future__ import annotations

import json
import shutil
import subprocess

import pytest

from sleepy.adapters.folder import read_updates
from sleepy.artifacts import Adapter, BaseModel
from sleepy.evaluate import ability as module
from sleepy.evaluate.ability import Ability, ability, general_texts
from sleepy.exam.builtin import every_koan
from sleepy.exam.contamination import most_alike
from sleepy.pairs.builtin import load_pairs
from sleepy.rust.similarity import fingerprint
from tests.adapters.made import random_adapter, tiny_base


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> BaseModel:
    return tiny_base(tmp_path_factory.mktemp("ability") / "base")


def whole(base: BaseModel, adapter: Adapter, top: int = 0) -> dict[str, tuple[float, float, float, int]]:
    """Loss, base's loss and KL by kind, and the number of places. With `top` the KL of the base's likeliest tokens and
    of all others as one outcome."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(base.weights)
    plain, other = (AutoModelForCausalLM.from_pretrained(base.weights, dtype=torch.float32) for _ in range(2))
    weights = dict(other.named_parameters())
    found = {}
    with torch.no_grad():
        for update in read_updates(adapter, base):
            weights[update.name] += update.scale * update.b @ update.a
        for kind, text in general_texts().items():
            ids = tokenizer(text, add_special_tokens=False, return_tensors="pt")["input_ids"]
            p, q = (model(ids).logits[0, :-1].double().log_softmax(-1)[:: module.STRIDE] for model in (plain, other))
            losses = [-float(logs.gather(1, ids[0, 1 :: module.STRIDE, None]).mean()) for logs in (q, p)]
            if top:
                likeliest = p.topk(top).indices
                parts = [logs.gather(1, likeliest).exp() for logs in (p, q)]
                p, q = (torch.cat([part, 1 - part.sum(1, keepdim=True)], 1).log() for part in parts)
            found[kind] = (*losses, float((p.exp() * (p - q)).sum(-1).mean()), len(p))
    return found


def test_the_figures_are_those_over_the_whole_vocabulary(base, tmp_path):
    adapter = random_adapter(base, tmp_path / "a", size=0.3)
    found, expected = ability(adapter, base, "cpu", tmp_path / "known"), whole(base, adapter)
    places = sum(n for *_, n in expected.values())
    loss, base_loss, kl = (sum(row[i] * row[3] for row in expected.values()) / places for i in range(3))
    assert (found.loss, found.base_loss, found.kl) == pytest.approx((loss, base_loss, kl), rel=1e-4)
    assert found.kl > 0.001 and found.by_kind == pytest.approx({k: row[2] for k, row in expected.items()}, rel=1e-4)
    assert set(found.by_kind) == {"prose", "python", "rust", "shell", "json"}
    assert found.metrics()["ability/rust/kl"] == found.by_kind["rust"] and found.metrics()["ability/kl"] == found.kl


def test_fewer_tokens_told_apart_give_a_lower_bound(base, tmp_path, monkeypatch):
    adapter = random_adapter(base, tmp_path / "a", size=0.3)
    found = {}
    for top in (1, 16, 64, 1024):
        monkeypatch.setattr(module, "TOP", top)
        found[top] = ability(adapter, base, "cpu", tmp_path / "known").kl
    assert 0 < found[1] < found[16] < found[64] < found[1024]
    expected = whole(base, adapter, top=16).values()
    assert found[16] == pytest.approx(sum(r[2] * r[3] for r in expected) / sum(r[3] for r in expected), rel=1e-3)


def test_an_adapter_that_adds_nothing_is_the_base(base, tmp_path):
    found = ability(random_adapter(base, tmp_path / "a", size=0.0), base, "cpu", tmp_path / "known")
    assert found.loss == pytest.approx(found.base_loss, abs=1e-6) and found.kl == pytest.approx(0, abs=1e-7)


def test_what_was_measured_is_read_again_and_the_base_is_asked_once(base, tmp_path, monkeypatch):
    first, second = (random_adapter(base, tmp_path / name, size=0.3, seed=seed) for name, seed in (("a", 1), ("b", 2)))
    known = tmp_path / "known"
    found = ability(first, base, "cpu", known)
    (reference,) = known.glob("*.safetensors")
    asked = reference.stat().st_mtime_ns
    assert ability(second, base, "cpu", known).kl != found.kl and reference.stat().st_mtime_ns == asked
    shutil.rmtree(first.folder)
    assert ability(first, base, "cpu", known) == found
    monkeypatch.setattr(module, "_free", lambda device: 0)
    assert ability(first, base, "cpu", known) == found
    assert ability(second, base, "cpu", tmp_path / "new") is None  # it does not fit


def test_the_line_fits_a_terminal():
    line = Ability(1.7323, 1.7431, 0.0031, {"prose": 0.002, "python": 0.006}).line
    assert line == "general texts: loss 1.743 -> 1.732, KL to the base 0.0031 (most: python 0.006)"
    assert len(line) <= 80


def test_the_texts_are_what_they_are_called(checker, koan):
    texts = general_texts()
    compile(texts["python"], "python.txt", "exec")
    json.loads(texts["json"])
    assert subprocess.run(["bash", "-n"], input=texts["shell"], text=True).returncode == 0
    (check,) = checker.check_all([koan.repaired_job(texts["rust"])._replace(tests=())])
    assert check.compiles, check.detail


def test_no_pair_and_no_koan_resembles_a_text():
    tasks = [*load_pairs(), *every_koan()]
    programs = [program for task in tasks for program in (task.broken, task.fix)]
    names = [task.id for task in tasks for _ in range(2)]
    near = most_alike(list(map(fingerprint, general_texts().values())), list(map(fingerprint, programs)), names)
    assert max(one.excess for both in near for one in both) < 0.5  # half of what counts as a near-duplicate
    assert most_alike([fingerprint(programs[0])], list(map(fingerprint, programs)), names)[0][0].excess > 1
