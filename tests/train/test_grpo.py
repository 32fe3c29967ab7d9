"""Rewards are what the sandbox says; training through TRL is repeatable, resumable and ours in every setting."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Sequence
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
from sleepy.train._grpo import Rewards, cut, drawn, similarity
from sleepy.train.batches import Example, encode
from sleepy.train.grpo import Grpo
from sleepy.train.lora import Lora
from sleepy.train.settings import Train
from sleepy.train.training import NOTHING, Past, Tools

# The small model often begins its answer like this. Where that ends it, the program is empty and compiles, so that
# rewards differ.
STOPS = (" (", "\n")


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
    *,
    past: Past = NOTHING,
    lora: Lora | None = None,
    seed: int = 0,
    on_step: Callable[[int, float], object] = lambda step, loss: None,
    **train: Any,
) -> Adapter:
    """Two steps of a group of four short answers."""
    return (algorithm or Grpo(max_new_tokens=4)).fit(
        base,
        given,
        lora=lora or Lora(r=4, dropout=0.1),
        train=Train(**{"steps": 2, "batch_size": 4, "lr": 1e-3, "checkpoint_every": 1, **train}),
        device="cpu",
        seed=seed,
        folder=folder / "adapter",
        place=folder / "checkpoint",
        record={},
        past=past,
        tools=tools(checker),
        on_step=on_step,
    )


def tensors(adapter: Adapter) -> dict[str, Any]:
    from safetensors.torch import load_file

    return load_file(adapter.folder / "adapter_model.safetensors")


def rewards_of(adapter: Adapter) -> list[dict[str, float]]:
    return [json.loads(line) for line in (adapter.folder / "rewards.jsonl").read_text().splitlines()]


def test_a_reward_is_the_sandbox_s_verdict(checker: Checker, koan: Task) -> None:
    example = Example(SingleShot().first(koan, checker.check(*koan.broken_job)), "", koan)
    wrong = koan.fix.replace("chars in", "letters in")
    answers = [koan.fix, wrong + "\n```\nI changed a word: it is `letters` now.", koan.broken, "", "fn"]
    judge = Rewards([example], tools(checker), (0.2, 1.0, 0.5))
    # of 82 tokens in the broken program the fix keeps 79 and has 4 others; the wrong one changes a word more
    good, bad = 2 * 79 / (82 + 83), 2 * 78 / (82 + 83)
    expected = [(1, 1, good), (1, 0, bad), (0, 0, 0), (1, 0, 0), (0, 0, 0)]
    assert judge.parts([example] * 5, answers) == [pytest.approx(row) for row in expected]
    logged: dict[str, float] = {}
    given = judge(prompts=["0"] * 5, completions=answers, log_metric=logged.__setitem__, trainer_state=None)
    assert given == pytest.approx([1.2 + good / 2, 0.2 + bad / 2, 0.0, 0.2, 0.0])
    assert logged == pytest.approx({"compiles": 0.6, "passes": 0.2, "similarity": (good + bad) / 5})


def test_similarity_counts_tokens() -> None:
    assert similarity("let a = 1;", "let  a=1 ;") == 1.0
    assert similarity("a b c", "a x c") == pytest.approx(2 * 2 / 6)
    assert similarity("a b c", "") == 0.0


def test_an_answer_ends_with_its_stop_string(tiny: BaseModel) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny.weights)
    whole = tokenizer("fn a() {}\n```\nThis is `a`.\n```")["input_ids"]
    assert tokenizer.decode(cut(whole, ["\n```"], tokenizer.decode)).rstrip("\n") == "fn a() {}\n```"
    assert cut(whole, ["nowhere"], tokenizer.decode) == cut(whole, [], tokenizer.decode) == whole


def test_every_epoch_draws_every_prompt_once() -> None:
    order = drawn(5, 23, 1)
    assert order == drawn(5, 40, 1)[:23] != drawn(5, 23, 2)
    assert all(sorted(order[i : i + 5]) == list(range(5)) for i in range(0, 20, 5)) and order[:5] != order[5:10]


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
        algorithm = Grpo(max_new_tokens=4, beta=0.1)
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
    from transformers import AutoTokenizer

    judged: list[tuple[Example, str]] = []
    plain = Rewards.parts

    def watched(self: Rewards, found: Sequence[Example], texts: Sequence[str]) -> list[tuple[float, float, float]]:
        judged.extend(zip(found, texts, strict=True))
        return plain(self, found, texts)

    monkeypatch.setattr(Rewards, "parts", watched)
    monkeypatch.setattr("trl.trainer.base_trainer.send_telemetry", lambda **told: pytest.fail(f"told {told}"))
    given = [*examples(koan, 2), replace(examples(koan)[0], answer="one two three four five")]
    first = fit(tiny, tmp_path / "first", checker, given, warmup=1.0)
    assert len(read_updates(first, tiny)) == 14
    assert first.trainable == sum(t.numel() for t in tensors(first).values())
    assert 0.9e-3 < torch_max(tensors(first), "lora_B") < 1.52e-3  # Adam's steps: the rate, half of it in the first
    drawn_from = [e.prompt for e, _ in judged]
    assert drawn_from[:4] == 4 * drawn_from[:1] and drawn_from[4:] == 4 * drawn_from[4:5]  # a group a step
    assert {given.index(e) for e, _ in judged} == {0, 1}  # the third is longer than what may be drawn
    tokenizer = AutoTokenizer.from_pretrained(tiny.weights)
    heads = [e.start for e, _ in zip(encode(given, tokenizer, 999)[0], given, strict=True)]
    texts = [len(tokenizer(text)["input_ids"]) for _, text in judged]
    assert first.tokens == sum(texts) + 4 * (heads[0] + heads[1])  # nothing after a stop string
    past = Past((tuple(given),), first.folder)
    second = fit(tiny, tmp_path / "second", checker, given, past=past, steps=1, lr=1e-9)
    one, other = tensors(first), tensors(second)
    assert all(float((one[name] - other[name]).abs().max()) < 1e-6 for name in one)


def torch_max(found: dict[str, Any], word: str) -> float:
    return max(float(t.abs().max()) for name, t in found.items() if word in name)


def test_accumulation_and_checkpointing_change_memory_not_the_result(
    tiny: BaseModel, tmp_path: Path, checker: Checker, koan: Task
) -> None:
    def run(name: str, **train: Any) -> Adapter:
        more = {"steps": 1, "lora": Lora(r=4), "precision": "fp32", **train}
        return fit(tiny, tmp_path / name, checker, examples(koan), **more)

    plain = run("plain")
    spared = run("spared", batch_size=2, grad_accum=2, gradient_checkpointing=True)
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


def test_what_cannot_be_done_is_refused(
    tiny: BaseModel, tmp_path: Path, checker: Checker, koan: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match=r"found 6 answers a step, expected a multiple of algo\.group=4"):
        Grpo().check_machine(Train(batch_size=3, grad_accum=2), "cpu")
    with pytest.raises(ConfigError, match=r"train\.epochs: found 2.*Set train\.steps"):
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
