"""What an adapter makes of examples that it was not trained on."""

from __future__ import annotations

from collections.abc import Sequence

from sleepy.artifacts import Adapter, BaseModel
from sleepy.train.batches import Example, collate, tokenized
from sleepy.train.device import load_base, pick_device
from sleepy.train.settings import Train
from sleepy.train.trainer import answer_nll


def unseen_loss(
    adapter: Adapter, base: BaseModel, examples: Sequence[Example], train: Train, device: str
) -> tuple[int, float, float]:
    """The mean loss of an answer token of `examples`, in nats: of the base model, and with `adapter` on it; before them
    how many examples were measured. Precision, batch size and longest example are those of `train`; longer examples
    are left out, and where all are, the losses are 0."""
    import torch
    from peft import PeftModel
    from transformers import AutoTokenizer

    device = pick_device(device)
    tokenizer = AutoTokenizer.from_pretrained(base.weights)
    encoded = [row for row in tokenized(examples, tokenizer) if len(row.ids) <= train.max_length]
    if not encoded:
        return 0, 0.0, 0.0
    encoded.sort(key=lambda row: len(row.ids))  # little padding
    pad = tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id
    model = PeftModel.from_pretrained(load_base(base, train, device), adapter.folder).eval()
    before = after = 0.0
    tokens = 0
    with torch.no_grad():
        for at in range(0, len(encoded), train.batch_size):
            batch = collate(encoded[at : at + train.batch_size], pad, device)
            after += float(answer_nll(model, batch).sum())
            with model.disable_adapter():
                before += float(answer_nll(model, batch).sum())
            tokens += len(batch.targets)
    return len(encoded), before / tokens, after / tokens
