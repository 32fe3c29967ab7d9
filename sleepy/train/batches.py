"""Training pairs as token batches: prompt masked, sorted by length, the same for the same seed."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sleepy.artifacts import Prompt, Task
from sleepy.errors import TrainingError
from sleepy.pairs.material import Chat

_WINDOW = 8  # batches sorted by length among each other: little padding, still well shuffled


@dataclass(frozen=True)
class Example:
    """A training pair as the model sees it: the prompt, and the answer it should give after the prefill. `task` is the
    pair itself, for algorithms that ask more of it; a chat has none."""

    prompt: Prompt
    answer: str
    task: Task | None = None


@dataclass(frozen=True)
class Encoded:
    """Token ids, of which the first `start` are the prompt."""

    ids: tuple[int, ...]
    start: int


@dataclass(frozen=True)
class Batch:
    """Tensors of shape (batch, length): ids and attention mask padded on the right; `learn` marks the positions whose
    *next* token is part of the answer; `targets` are those next tokens, flat, in the order of `learn`."""

    ids: Any
    mask: Any
    learn: Any
    targets: Any


def of_chat(chat: Chat) -> Example:
    """A chat as the model sees it: its own template is put around the messages, and the answer is learned whole."""
    return Example(Prompt(chat.messages, "", ()), chat.answer)


def tokenized(examples: Sequence[Example], tokenizer: Any) -> list[Encoded]:
    """Examples as tokens, of any length: the prompt in the model's chat template, the answer, the end of its turn.
    Raises TrainingError for messages that the template does not take."""
    found = []
    end = _end_of_turn(tokenizer)
    for example in examples:
        head = _templated(tokenizer, example.prompt.messages)
        prompt = tokenizer(head + example.prompt.prefill, add_special_tokens=False)["input_ids"]
        answer = tokenizer(example.answer, add_special_tokens=False)["input_ids"]
        found.append(Encoded((*prompt, *answer, end), len(prompt)))
    return found


def _end_of_turn(tokenizer: Any) -> int:
    """The token that the chat template puts behind an answer, or the end of a text where there is no such one."""
    ask = ({"role": "user", "content": "a"},)
    head, whole = _templated(tokenizer, ask) + "b", _templated(tokenizer, (*ask, {"role": "assistant", "content": "b"}))
    tail = whole.removeprefix(head).strip() if whole.startswith(head) else ""
    found: list[int] = tokenizer(tail, add_special_tokens=False)["input_ids"]
    return found[0] if len(found) == 1 else int(tokenizer.eos_token_id)


def _templated(tokenizer: Any, messages: Sequence[dict[str, str]]) -> str:
    """Messages in the model's chat template, up to where an answer is due or the last one ends."""
    from jinja2 import TemplateError

    due = messages[-1]["role"] != "assistant"
    try:
        return str(tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=due))
    except TemplateError as error:
        roles = ", ".join(message["role"] for message in messages)
        raise TrainingError(
            f"the model's chat template refuses messages of the roles {roles}: {error}. Leave out the system message, "
            "or choose another model"
        ) from error


def encode(examples: Sequence[Example], tokenizer: Any, max_length: int) -> tuple[list[Encoded], int]:
    """`tokenized` examples, and how many were left out for being longer than `max_length`. Raises TrainingError when
    none is left."""
    found = tokenized(examples, tokenizer)
    kept = [e for e in found if len(e.ids) <= max_length]
    if not kept:
        raise TrainingError(f"all of {len(found)} training pairs are longer than train.max_length={max_length} tokens")
    return kept, len(found) - len(kept)


def schedule(encoded: Sequence[Encoded], batch_size: int, passes: int, seed: int) -> list[list[int]]:
    """Indices of the examples of each of `passes` forward passes. Every epoch is shuffled anew, then sorted by length
    within windows, then its batches are shuffled; a function of its arguments alone, so a resumed run continues it."""
    order: list[list[int]] = []
    epoch = 0
    while len(order) < passes:
        rng = random.Random(f"{seed} {epoch}")
        indices = list(range(len(encoded)))
        rng.shuffle(indices)
        wide = _WINDOW * batch_size
        windows = [
            sorted(indices[i : i + wide], key=lambda j: len(encoded[j].ids)) for i in range(0, len(indices), wide)
        ]
        batches = [w[i : i + batch_size] for w in windows for i in range(0, len(w), batch_size)]
        rng.shuffle(batches)
        order += batches
        epoch += 1
    return order[:passes]


def collate(rows: Sequence[Encoded], pad: int, device: str) -> Batch:
    """One batch of tensors on `device`."""
    import torch

    length = max(len(r.ids) for r in rows)
    ids = torch.full((len(rows), length), pad, dtype=torch.long)
    mask = torch.zeros_like(ids)
    learn = torch.zeros_like(ids, dtype=torch.bool)
    targets: list[int] = []
    for i, row in enumerate(rows):
        ids[i, : len(row.ids)] = torch.tensor(row.ids)
        mask[i, : len(row.ids)] = 1
        learn[i, row.start - 1 : len(row.ids) - 1] = True
        targets += row.ids[row.start :]
    return Batch(ids.to(device), mask.to(device), learn.to(device), torch.tensor(targets, device=device))
