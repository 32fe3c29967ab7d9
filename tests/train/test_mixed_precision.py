"""A base model in bf16: the adapter's products in bf16, its weights and gradients in float32."""

from __future__ import annotations

from typing import Any

import pytest

from sleepy.artifacts import BaseModel
from sleepy.train.batches import collate, encode
from sleepy.train.lora import Lora
from sleepy.train.osf import Osf
from sleepy.train.sam import Sam
from sleepy.train.sft import Sft
from sleepy.train.trainer import answer_nll
from tests.train.fitting import EXAMPLES


def gradients(tiny: BaseModel, dtype: str, mixed: bool) -> tuple[float, dict[str, Any], set[Any]]:
    """The loss, the gradient of each trained matrix, and the dtypes that leave the B matrices."""
    import torch
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(tiny.weights)
    base = transformers.AutoModelForCausalLM.from_pretrained(tiny.weights, dtype=getattr(torch, dtype))
    torch.manual_seed(0)
    model, seen = Lora().wrap(base), set()
    for name, module in model.named_modules():
        if name.endswith("lora_B.default"):
            torch.nn.init.normal_(module.weight, std=0.02)
            module.register_forward_hook(lambda m, i, o: seen.add(o.dtype))
    batch = collate(encode(EXAMPLES, tokenizer, 512)[0], tokenizer.eos_token_id, "cpu")
    loss = answer_nll(model, batch, mixed).mean()
    loss.backward()
    return float(loss), {n: p.grad for n, p in model.named_parameters() if p.grad is not None}, seen


def test_bf16_products_give_the_gradient_of_float32_products(tiny: BaseModel) -> None:
    import torch

    loss, ours, seen = gradients(tiny, "bfloat16", True)
    plain_loss, plain, plain_seen = gradients(tiny, "bfloat16", False)
    assert (seen, plain_seen) == ({torch.bfloat16}, {torch.float32})
    assert loss == pytest.approx(plain_loss, rel=1e-3)
    assert ours.keys() == plain.keys() and all(g.dtype == torch.float32 for g in ours.values())
    whole = [torch.cat([g.flatten() for g in found.values()]) for found in (ours, plain)]
    assert float(torch.nn.functional.cosine_similarity(*whole, dim=0)) > 0.99


def test_a_base_in_float32_is_computed_as_it_was(tiny: BaseModel) -> None:
    import torch

    loss, ours, seen = gradients(tiny, "float32", True)
    plain_loss, plain, _ = gradients(tiny, "float32", False)
    assert seen == {torch.float32} and loss == plain_loss
    assert all(torch.equal(g, plain[n]) for n, g in ours.items())


def test_who_takes_steps_that_bf16_rounds_away_does_without() -> None:
    assert Sft.mixed_precision and not Sam.mixed_precision and not Osf.mixed_precision
