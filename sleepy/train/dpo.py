"""Preferences: the repair over the copy of the broken program (Rafailov et al. 2023, arXiv 2305.18290)."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from sleepy.errors import TrainingError
from sleepy.options import ranged
from sleepy.train.algorithm import Algorithm
from sleepy.train.batches import Batch, Encoded, encode
from sleepy.train.trainer import Trainer

Ids = tuple[int, ...]


@dataclass(frozen=True)
class _Before:
    """The parameters before the first step, and the copy that is rejected for each repair, by the repair's tokens."""

    parameters: Mapping[str, Any]
    rejected: Mapping[Ids, Encoded]


@dataclass(frozen=True, kw_only=True)
class Dpo(Algorithm):
    """Direct preference optimisation. With m the log-probability of an answer under the model less that under the model
    as it was before the first step, the loss of a pair is

        -log sigmoid(beta (m(repair) - m(copy))) + sft * (mean negative log-likelihood of the repair's tokens)

    (equation 7 of the paper; the second term is that of Pang et al. 2024, arXiv 2404.19733: without it the repair may
    become less likely, too, only more slowly than the copy). The copy is the broken program itself, which is what a
    small model mostly answers. A step takes four forward passes and two backward ones where naive takes one of each.

    beta: how little the model may move from what it was (above 0).
    sft: weight of the second term (at least 0).
    """

    needs_programs: ClassVar[bool] = True

    beta: float = ranged(0.1, above=0)
    sft: float = ranged(1.0, at_least=0)

    def begin(self, trainer: Trainer) -> _Before:
        """See Algorithm.begin. Raises TrainingError for an example whose broken program is not known."""
        examples = trainer.training.examples
        if any(example.task is None for example in examples):
            raise TrainingError("algo=dpo needs pairs with a broken program. Use data= with pairs, or algo=naive")
        copies = [replace(e, answer=_copy(e.answer, e.task.fix, e.task.broken)) for e in examples if e.task]
        good, bad = (encode(rows, trainer.tokenizer, sys.maxsize)[0] for rows in (examples, copies))
        parameters = {name: p.detach().clone() for name, p in trainer.parameters.items()}
        return _Before(parameters, {row.ids: copy for row, copy in zip(good, bad, strict=True)})

    def gradient(self, trainer: Trainer, batches: Sequence[Batch]) -> float:
        """See Algorithm.gradient."""
        import torch
        from torch.nn.functional import logsigmoid

        total = 0.0
        for good in batches:
            bad = trainer.batch([trainer.state.rejected[ids] for ids in _rows(good)])
            with torch.no_grad(), _as_before(trainer), trainer.evaluating():
                before = _sums(trainer.nll(good), good) - _sums(trainer.nll(bad), bad)
            nll = trainer.nll(good)
            margin = before - (_sums(nll, good) - _sums(trainer.nll(bad), bad))
            loss = (-logsigmoid(self.beta * margin).mean() + self.sft * nll.mean()) / len(batches)
            loss.backward()
            total += float(loss.detach())
        return total


def _copy(answer: str, fix: str, broken: str) -> str:
    """The answer that gives the broken program where `answer` gives the fix."""
    return broken.rstrip("\n") + answer.removeprefix(fix.rstrip("\n"))


def _rows(batch: Batch) -> list[Ids]:
    """The tokens of each row of a batch, without the padding."""
    return [tuple(ids[: int(mask.sum())].tolist()) for ids, mask in zip(batch.ids, batch.mask, strict=True)]


def _sums(nll: Any, batch: Batch) -> Any:
    """(batch,): the sum over each row of what stands for each answer token, (tokens,)."""
    import torch

    lengths = batch.learn.sum(1)
    rows = torch.repeat_interleave(torch.arange(len(lengths), device=nll.device), lengths)
    return torch.zeros(len(lengths), device=nll.device).index_add(0, rows, nll)


@contextmanager
def _as_before(trainer: Trainer) -> Iterator[None]:
    """The model with the parameters that it had before the first step."""
    import torch

    now = {name: p.detach().clone() for name, p in trainer.parameters.items()}

    def put(values: Mapping[str, Any]) -> None:
        with torch.no_grad():
            for name, value in values.items():
                trainer.parameters[name].copy_(value)

    put(trainer.state.parameters)
    try:
        yield
    finally:
        put(now)
