"""Chats in training: in the model's own template, with the loss on the answer alone; and the loss on unseen pairs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sleepy.artifacts import BaseModel
from sleepy.errors import TrainingError
from sleepy.pairs.material import Chat
from sleepy.train.batches import collate, encode, of_chat, tokenized
from sleepy.train.lora import Lora
from sleepy.train.settings import Train
from sleepy.train.unseen import unseen_loss
from tests.train.fitting import EXAMPLES, fit

TALK = Chat(
    id="c",
    messages=(
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "What is 1 + 1?"},
        {"role": "assistant", "content": "2"},
        {"role": "user", "content": "And 2 + 2?"},
    ),
    answer="It is 4.\n",
)


def tokenizer_of(base: BaseModel) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(base.weights)


def test_only_the_last_answer_is_learned_inside_the_models_own_template(smollm2: BaseModel) -> None:
    tokenizer = tokenizer_of(smollm2)
    (row,) = tokenized([of_chat(TALK)], tokenizer)
    whole = [*TALK.messages, {"role": "assistant", "content": TALK.answer}]
    text = tokenizer.apply_chat_template(whole, tokenize=False)
    assert "<|im_start|>system\nBe brief.<|im_end|>" in text  # SmolLM2's, with the system message of the chat
    assert text.rstrip("\n") == tokenizer.decode(row.ids)
    assert tokenizer.decode(row.ids[row.start :]) == "It is 4.\n<|im_end|>"
    batch = collate([row], 0, "cpu")
    assert int(batch.learn.sum()) == len(row.ids) - row.start and not batch.learn[0, : row.start - 1].any()
    assert batch.targets.tolist() == list(row.ids[row.start :])


TURNS = "{% for m in messages %}<{{ m.role }}>{{ m.content }}<end>\n{% endfor %}"
DUE = "{% if add_generation_prompt %}<assistant>{% endif %}"


@pytest.mark.parametrize(("template", "end"), [(TURNS + DUE, "<end>"), ("{{ messages[-1]['content'] }}", "")])
def test_an_answer_ends_as_the_template_ends_it(tiny: BaseModel, template: str, end: str) -> None:
    tokenizer = tokenizer_of(tiny)
    tokenizer.add_tokens("<end>", special_tokens=True)
    tokenizer.chat_template = template
    (row,) = tokenized([of_chat(TALK)], tokenizer)
    answer = tokenizer(TALK.answer, add_special_tokens=False)["input_ids"]
    last = tokenizer.convert_tokens_to_ids(end) if end else tokenizer.eos_token_id
    assert list(row.ids[row.start :]) == [*answer, last] and last is not None


def test_a_template_that_refuses_a_role_is_told(tiny: BaseModel) -> None:
    tokenizer = tokenizer_of(tiny)
    refused = "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    tokenizer.chat_template = refused + TURNS + DUE
    with pytest.raises(TrainingError, match=r"roles system, user, assistant, user: System role not supported. Leave"):
        encode([of_chat(TALK)], tokenizer, 1000)


def test_the_loss_on_unseen_pairs_is_the_mean_over_their_answers_tokens(tiny: BaseModel, tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    examples = [*EXAMPLES[:3], of_chat(TALK)]
    settings = Train(steps=1, batch_size=3, max_length=1000)
    adapter = fit(tiny, tmp_path, examples=examples, lora=Lora(r=4), steps=20, lr=1e-2, max_length=1000)
    count, before, after = unseen_loss(adapter, tiny, examples, settings, "cpu")
    model = AutoModelForCausalLM.from_pretrained(tiny.weights).eval()
    total = tokens = 0.0
    for row in tokenized(examples, tokenizer_of(tiny)):
        labels = torch.tensor([[*[-100] * row.start, *row.ids[row.start :]]])
        with torch.no_grad():
            mean = model(input_ids=torch.tensor([row.ids]), labels=labels).loss
        total, tokens = total + float(mean) * (len(row.ids) - row.start), tokens + len(row.ids) - row.start
    assert count == 4 and before == pytest.approx(total / tokens, rel=1e-3) and after < 0.9 * before
    short = replace(settings, max_length=64)
    fits = sum(len(row.ids) <= 64 for row in tokenized(examples, tokenizer_of(tiny)))
    assert unseen_loss(adapter, tiny, examples, short, "cpu")[0] == fits < 4
    assert unseen_loss(adapter, tiny, [of_chat(replace(TALK, answer="x" * 9999))], settings, "cpu") == (0, 0.0, 0.0)
