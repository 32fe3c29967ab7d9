"""Rewards are what the sandbox says; training through TRL is repeatable, resumable and ours in every setting."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sleepy.adapters.folder import read_updates
from sleepy.artifacts import Adapter, BaseModel, Completion, Prompt, Task
from sleepy.errors import ConfigError, DataError, TrainingError
from sleepy.options import problems_of
from sleepy.repair.single_shot import SingleShot
from sleepy.sandbox.checker import Checker
from sleepy.train._grpo import Rewards, Rollout, cut, hushed, similarity, train
from sleepy.train.batches import Example, encode
from sleepy.train.grpo import Grpo
from sleepy.train.lora import Lora
from sleepy.train.settings import Train
from sleepy.train.training import Past, Tools
from tests.train import fitting
from tests.train.fitting import STOPS

WARM = 5.0  # the tiny model is sure of its nonsense


def tools(checker: Checker) -> Tools:
    def ask(prompts: Sequence[Prompt], latest: bool) -> list[Completion]:
        raise AssertionError("nothing is asked of the model")

    return Tools(checker.check_all, ask, SingleShot().program, lambda tasks: [])


def examples(koan: Task, count: int = 3) -> list[Example]:
    small = replace(koan, broken="pub fn one() -> u32 { true }\n", fix="pub fn one() -> u32 { 1 }\n", tests=())
    ask = [f"Mend {i}." for i in range(count)]
    return [Example(Prompt(({"role": "user", "content": a},), "```rust\n", STOPS), "1", small) for a in ask]


def fit(
    base: BaseModel,
    folder: Path,
    checker: Checker,
    given: Sequence[Example],
    algorithm: Grpo | None = None,
    **more: Any,
) -> Adapter:
    """Two steps of a group of four short answers."""
    more = {"steps": 2, "batch_size": 4, "tools": tools(checker), **more}
    return fitting.fit(base, folder, algorithm or Grpo(max_new_tokens=4, temperature=WARM), examples=given, **more)


def tensors(adapter: Adapter) -> dict[str, Any]:
    from safetensors.torch import load_file

    return load_file(adapter.folder / "adapter_model.safetensors")


def rewards_of(adapter: Adapter) -> list[dict[str, float]]:
    return [json.loads(line) for line in (adapter.folder / "rewards.jsonl").read_text().splitlines()]


def test_a_reward_is_the_sandbox_s_verdict(checker: Checker, koan: Task) -> None:
    wrong = koan.fix.replace("chars in", "letters in")
    answers = [koan.fix, wrong + "\n```\nI changed a word: it is `letters` now.", koan.broken, "", "fn"]
    judge = Rewards([koan], ["\n```"], tools(checker), (0.2, 1.0, 0.5))
    # of 72 tokens in the broken program the fix keeps 69 and has 4 others; the wrong one changes a string more
    good, bad = 2 * 69 / (72 + 73), 2 * 68 / (72 + 73)
    logged: dict[str, float] = {}
    given = judge(prompts=["0"] * 5, completions=answers, log_metric=logged.__setitem__, trainer_state=None)
    assert given == pytest.approx([1.2 + good / 2, 0.2 + bad / 2, 0.0, 0.2, 0.0])
    assert logged == pytest.approx({"compiles": 0.6, "passes": 0.2, "similarity": (good + bad) / 5})


def test_similarity_counts_tokens() -> None:
    assert similarity("let a = 1;", "let  a=1 ; // one") == 1.0
    assert similarity("a b c", "a x c") == pytest.approx(2 * 2 / 6)
    assert similarity("a b c", "") == 0.0


def test_an_answer_ends_with_its_stop_string(tiny: BaseModel) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny.weights)
    whole = tokenizer("fn a() {}\n```\nThis is `a`.\n```")["input_ids"]
    assert tokenizer.decode(cut(whole, ["\n```"], tokenizer.decode)).rstrip("\n") == "fn a() {}\n```"
    assert cut(whole, ["nowhere"], tokenizer.decode) == cut(whole, [], tokenizer.decode) == whole


class Killed(Exception):
    """What ends a run between a step and its checkpoint."""


def test_a_run_goes_on_to_the_same_adapter(
    tiny: BaseModel, tmp_path: Path, checker: Checker, koan: Task, capsys: pytest.CaptureFixture[str]
) -> None:
    def kill(step: int, loss: float) -> None:
        if step == 1:
            raise Killed

    def interrupt(step: int, loss: float) -> None:
        if step == 2:
            os.kill(os.getpid(), signal.SIGINT)

    def again(name: str, **more: Any) -> Adapter:
        algorithm = Grpo(max_new_tokens=4, temperature=WARM, beta=0.1)
        return fit(tiny, tmp_path / name, checker, examples(koan), algorithm, steps=4, **more)

    unbroken = again("whole")
    with pytest.raises(Killed):
        again("cut", on_step=kill)
    with pytest.raises(KeyboardInterrupt):
        again("cut", on_step=interrupt, checkpoint_every=10)
    seen: list[float] = []
    resumed = again("cut", on_step=lambda step, loss: seen.append(loss))
    assert resumed.digest == unbroken.digest and tuple(seen) == resumed.losses == unbroken.losses
    assert rewards_of(resumed) == rewards_of(unbroken) and resumed.tokens == unbroken.tokens
    assert len({row["reward"] for row in rewards_of(unbroken)}) > 1
    assert again("other", seed=1).digest != unbroken.digest
    assert not (resumed.folder / "ref").exists()
    out = capsys.readouterr()
    assert out.out == "" and "Warning" not in out.err


def test_the_adapter_is_plain_lora_and_goes_on_from_the_past(
    tiny: BaseModel, tmp_path: Path, checker: Checker, koan: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub.utils import _telemetry
    from transformers import AutoTokenizer

    judged: list[tuple[int, list[int]]] = []
    plain = Rewards.__call__

    def watched(self: Rewards, prompts: list[str], completions: list[str], **more: Any) -> list[float]:
        judged.extend(zip(map(int, prompts), more["completion_ids"], strict=True))
        return plain(self, prompts, completions, **more)

    monkeypatch.setattr(Rewards, "__call__", watched)
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setattr(_telemetry._TELEMETRY_QUEUE, "put", lambda told: pytest.fail(f"told {told}"))
    given = [*examples(koan, 2), replace(examples(koan)[0], answer="one two three four five")]
    first = fit(tiny, tmp_path / "first", checker, given, warmup=1.0)
    assert len(read_updates(first, tiny)) == 14
    assert first.trainable == sum(t.numel() for t in tensors(first).values())
    assert 0.9e-3 < torch_max(tensors(first), "lora_B") < 1.52e-3  # Adam's steps: the rate, half of it in the first
    numbers = [number for number, _ in judged]
    assert numbers[:4] == 4 * numbers[:1] and numbers[4:] == 4 * numbers[4:5]  # a group a step
    assert set(numbers) == {0, 1}  # the third is longer than what may be drawn
    tokenizer = AutoTokenizer.from_pretrained(tiny.weights)
    heads = [row.start for row in encode(given, tokenizer, 999)[0]]
    drawn = [ids for _, ids in judged]
    assert not any(stop in tokenizer.decode(ids[:-1]) for ids in drawn for stop in STOPS)  # nothing after one
    assert {len(ids) for ids in drawn} > {1, 4}
    assert first.tokens == sum(map(len, drawn)) + 4 * (heads[0] + heads[1])
    past = Past((tuple(given),), first.folder)
    second = fit(tiny, tmp_path / "second", checker, given, past=past, steps=1, lr=1e-9)
    one, other = tensors(first), tensors(second)
    assert all(float((one[name] - other[name]).abs().max()) < 1e-6 for name in one)


def test_answers_are_drawn_from_the_model_at_the_temperature_asked_for(
    tiny: BaseModel, tmp_path: Path, checker: Checker, koan: Task
) -> None:
    """The likeliest tokens when it is nearly 0, whatever the model's own generation_config says."""
    from transformers import AutoModelForCausalLM, GenerationConfig

    base = replace(tiny, weights=tmp_path / "weights")
    shutil.copytree(tiny.weights, base.weights)
    GenerationConfig(do_sample=True, top_k=3, repetition_penalty=9.0).save_pretrained(base.weights)
    (example,) = examples(koan, 1)
    example = replace(example, prompt=replace(example.prompt, stop=("no such text",)))
    trainer = Grpo().start(
        fitting.training(base, tmp_path, examples=[example], lora=Lora(r=4, dropout=0.9), precision="fp32")
    )
    (row,) = trainer.encode([example])
    greedy = GenerationConfig(do_sample=False, max_new_tokens=6, eos_token_id=trainer.tokenizer.eos_token_id)
    found: list[list[int]] = []

    class Kept(Rollout):
        def __call__(self, prompts: list[str], theirs: Any) -> dict[str, Any]:
            drawn = super().__call__(prompts, theirs)
            found.extend(drawn["completion_ids"])
            return drawn

    options = {"num_generations": 2, "max_completion_length": 6, "temperature": 1e-4, "beta": 0.0}
    rewards = Rewards([koan], [], tools(checker), (1.0, 1.0, 1.0))
    trainer.training = replace(trainer.training, settings=Train(steps=1, batch_size=2))
    with hushed():
        train(trainer, Kept(trainer, [row], example.prompt.stop), rewards, [0], options, lambda: False)
    import torch

    plain = AutoModelForCausalLM.from_pretrained(tiny.weights, dtype="float32")
    ids = torch.tensor([row.ids[: row.start]])
    expected = plain.generate(ids, generation_config=greedy)[0, row.start :].tolist()
    assert found == [expected, expected]


def torch_max(found: dict[str, Any], word: str) -> float:
    return max(float(t.abs().max()) for name, t in found.items() if word in name)


def test_accumulation_and_checkpointing_change_memory_not_the_result(
    tiny: BaseModel, tmp_path: Path, checker: Checker, koan: Task
) -> None:
    def run(name: str, **train: Any) -> Adapter:
        more = {"steps": 1, "lora": Lora(r=4), "precision": "fp32", **train}
        return fit(tiny, tmp_path / name, checker, examples(koan), **more)

    plain = run("plain")
    spared = run("spared", batch_size=2, gradient_checkpointing=True)  # grad_accum is raised to 2: groups stay whole
    clipped = run("clipped", max_grad_norm=1e-9)
    assert spared.losses == pytest.approx(plain.losses, rel=1e-4, abs=1e-6)
    one, other = tensors(plain), tensors(spared)
    assert max(float((one[n] - other[n]).abs().max()) for n in one) < 1e-3
    assert torch_max(tensors(clipped), "lora_B") < 0.5 * torch_max(one, "lora_B")


def test_nf4(tiny: BaseModel, tmp_path: Path, checker: Checker, koan: Task) -> None:
    adapter = fit(tiny, tmp_path, checker, examples(koan), quantization="nf4", steps=1)
    assert {str(t.dtype) for t in tensors(adapter).values()} == {"torch.float32"}


def test_weights_that_explode_are_an_error(tiny: BaseModel, tmp_path: Path, checker: Checker, koan: Task) -> None:
    with pytest.raises(TrainingError, match=r"not finite.*Lower train\.lr|loss and gradient.*Lower train\.lr"):
        fit(tiny, tmp_path, checker, examples(koan), steps=3, lr=1e30, warmup=0.0)


@pytest.mark.parametrize(
    ("batch", "accum", "group", "raised"), [(1, 1, 4, 4), (4, 1, 4, 1), (3, 2, 4, 4), (8, 1, 4, 1), (6, 1, 4, 2)]
)
def test_a_step_holds_whole_groups(batch: int, accum: int, group: int, raised: int) -> None:
    train = Grpo(group=group).in_whole_groups(Train(batch_size=batch, grad_accum=accum))
    assert train.grad_accum == raised and batch * raised % group == 0


def test_what_cannot_be_done_is_refused(
    tiny: BaseModel, tmp_path: Path, checker: Checker, koan: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match=r"train\.epochs must be 0 .*not 2.*Set train\.steps"):
        Grpo().check_machine(Train(epochs=2), "cpu")
    with pytest.raises(ConfigError, match="flash-attn"):
        Grpo().check_machine(Train(attention="flash_attention_2"), "cpu")
    assert problems_of(Grpo(compiles=0, passes=0, edit=0), "algo") and not problems_of(Grpo(), "algo")
    blind = [*examples(koan), replace(examples(koan)[0], task=None)]
    with pytest.raises(DataError, match="needs each example's task"):
        fit(tiny, tmp_path, checker, blind)
    with pytest.raises(TrainingError, match=r"all of 3 .* algo\.max_new_tokens=1\b"):
        fit(tiny, tmp_path, checker, examples(koan), Grpo(max_new_tokens=1))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"needs the package trl \(bash setup\.sh rl"):
        Grpo().check_machine(Train(), "cpu")
