"""Share's mathematics on tensors (Kaushik et al. 2026, arXiv 2602.06043).

A layer's adapters dW_i = B_i A_i (B: n x r, A: r x d, the scale alpha / r within them) are kept as two orthonormal
bases that all tasks share, beta (n x k) and alpha (d x k), and coefficients of each task (k x p): B_i = beta eps_beta_i
and A_i = (alpha eps_alpha_i)^T, an ordinary LoRA of rank p. B and A^T are decomposed apart: their k may differ.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from sleepy.adapters.factors import Factors, Pair, size_of, truncate

_NOISE = 1e-6  # singular values below this share of the largest are float32's rounding
_STEEP = 1e-8  # eigenvalues this far apart: the small ones' vectors are too inexact
_BYTES = 4  # of a float32


@dataclass(frozen=True)
class Rule:
    """How many directions a basis keeps: `k`, or as many as explain `variance` where k is 0. With `centre` the mean
    column is taken out first; its direction then joins the basis as one more (the authors' code drops it, and with it
    what the mean has outside of the others' span)."""

    k: int = 0
    variance: float = 0.95
    centre: bool = False


@dataclass(frozen=True)
class Layer:
    """beta (n, k), alpha (d, k'), eps_beta (tasks, k, p), eps_alpha (tasks, k', p): float32."""

    beta: Any
    alpha: Any
    eps_beta: Any
    eps_alpha: Any

    def pair(self, task: int) -> Pair:
        """B (n x p) and A (p x d) of a task."""
        return self.beta @ self.eps_beta[task], (self.alpha @ self.eps_alpha[task]).T

    def pairs(self) -> list[Pair]:
        """Those of all tasks."""
        return [self.pair(i) for i in range(len(self.eps_beta))]


class Storage(NamedTuple):
    """Bytes, in float32: of the adapters as they were given, of the shared model, of each further task in it."""

    adapters: int
    shared: int
    one_more: int

    @property
    def ratio(self) -> float:
        """How many times smaller the shared model is."""
        return self.adapters / self.shared


@dataclass(frozen=True)
class Shared:
    """All adapters in one. `tasks`: name of each, in the order of the coefficients -> numbers its own adapter had."""

    layers: dict[str, Layer]
    tasks: dict[str, int]

    @property
    def p(self) -> int:
        """Rank of every reconstruction."""
        return int(next(iter(self.layers.values())).eps_beta.shape[-1])

    def adapter(self, task: str) -> dict[str, Pair]:
        """A task's reconstruction: an ordinary LoRA of rank p. Raises KeyError for an unknown task."""
        i = {name: i for i, name in enumerate(self.tasks)}[task]
        return {name: layer.pair(i) for name, layer in self.layers.items()}

    def average(self, rank: int = 0) -> dict[str, Pair]:
        """The mean of all reconstructions' dW, best approximated at `rank` (0: without loss).

        Not the mean of the coefficients: (eps_beta Q, eps_alpha Q) is the same adapter for every orthogonal Q, so those
        of two tasks have no common frame (one and the same adapter with flipped signs would average to zero)."""
        import torch

        t = len(self.tasks)
        fullest = max(min(layer.beta.shape[1], layer.alpha.shape[1]) for layer in self.layers.values())
        mean = {}
        for name, layer in self.layers.items():
            left, right = (torch.cat(list(eps), 1) for eps in (layer.eps_beta / t, layer.eps_alpha))
            left, right = truncate(left, right, rank or min(t * self.p, fullest))
            mean[name] = layer.beta @ left, (layer.alpha @ right).T
        return mean

    def error(self, task: str, adapter: Factors) -> float:
        """Relative reconstruction error ||dW - dW_hat|| / ||dW|| over all layers, against the task's own `adapter`."""
        import torch

        lost = whole = 0.0
        for name, (b, a) in self.adapter(task).items():
            own_b, own_a = adapter[name]
            lost += _square(torch.cat([own_b, -b], 1), torch.cat([own_a, a], 0))
            whole += _square(own_b, own_a)
        return (max(lost, 0.0) / whole) ** 0.5 if whole else 0.0

    def storage(self) -> Storage:
        """What sharing saves."""
        layers = self.layers.values()
        bases = sum(layer.beta.numel() + layer.alpha.numel() for layer in layers)
        coefficients = sum(layer.eps_beta.numel() + layer.eps_alpha.numel() for layer in layers)
        one = coefficients // len(self.tasks)
        return Storage(_BYTES * sum(self.tasks.values()), _BYTES * (bases + coefficients), _BYTES * one)

    def grown(self, task: str, adapter: Factors, rule: Rule) -> Shared:
        """Phase 3: the other tasks' reconstructions and the new adapter are stacked, decomposed and projected again; of
        a task that is there already, the new adapter replaces the old one. A k that follows the variance never falls:
        each fall would cost the earlier tasks once more."""
        layers = {}
        for name, layer in self.layers.items():
            least = layer.beta.shape[1] - rule.centre, layer.alpha.shape[1] - rule.centre
            stacked = {**dict(zip(self.tasks, layer.pairs(), strict=True)), task: adapter[name]}
            layers[name] = build_layer(list(stacked.values()), rule, self.p, least)
        return Shared(layers, self._with(task, adapter))

    def joined(self, task: str, adapter: Factors) -> Shared:
        """One more task's coefficients, or new ones of a task that is there; the bases stay as they are, to the bit."""
        import torch

        layers = {}
        for name, old in self.layers.items():
            new = project(old.beta, old.alpha, [adapter[name]], self.p)
            eps = []
            for known, own in ((old.eps_beta, new.eps_beta), (old.eps_alpha, new.eps_alpha)):
                rows = {**dict(zip(self.tasks, known, strict=True)), task: own[0]}
                eps.append(torch.stack(list(rows.values())))
            layers[name] = Layer(old.beta, old.alpha, *eps)
        return Shared(layers, self._with(task, adapter))

    def _with(self, task: str, adapter: Factors) -> dict[str, int]:
        """`tasks` with this one. The size is that of the first adapter it was given as."""
        return {**self.tasks, task: self.tasks.get(task, size_of(adapter))}


def build(adapters: Mapping[str, Factors], rule: Rule, p: int = 0) -> Shared:
    """Phase 1: one shared model of `adapters` (name -> layers, the same in each, of any ranks). `p` is the rank of each
    reconstruction; 0: the largest rank."""
    found = list(adapters.values())
    p = p or max(len(a) for factors in found for _, a in factors.values())
    layers = {name: build_layer([factors[name] for factors in found], rule, p) for name in found[0]}
    return Shared(layers, {name: size_of(factors) for name, factors in adapters.items()})


def build_layer(pairs: Sequence[Pair], rule: Rule, p: int, least: tuple[int, int] = (1, 1)) -> Layer:
    """Bases of the stacked [B_1..B_t] (n x tr) and [A_1^T..A_t^T] (d x tr), and every adapter's coefficients."""
    import torch

    beta = directions(torch.cat([b for b, _ in pairs], 1), rule, least[0])
    alpha = directions(torch.cat([a.T for _, a in pairs], 1), rule, least[1])
    return project(beta, alpha, pairs, p)


def project(beta: Any, alpha: Any, pairs: Sequence[Pair], p: int) -> Layer:
    """The coefficients of rank p that reconstruct each B A best. As beta and alpha are orthonormal, the best M in
    dW ~ beta M alpha^T is beta^T B A alpha, and the best of rank p is that one's truncated SVD."""
    import torch

    ranks = [len(a) for _, a in pairs]
    lefts = (beta.T @ torch.cat([b for b, _ in pairs], 1)).split(ranks, 1)
    rights = (alpha.T @ torch.cat([a.T for _, a in pairs], 1)).split(ranks, 1)
    found = [truncate(left, right, p) for left, right in zip(lefts, rights, strict=True)]
    return Layer(beta, alpha, torch.stack([left for left, _ in found]), torch.stack([right for _, right in found]))


def directions(stack: Any, rule: Rule, least: int = 1) -> Any:
    """The leading left singular vectors of `stack` (n x m) as an orthonormal n x k, through the smaller of its two Gram
    matrices in float64. k is at most the stack's rank; `least` is the fewest where k follows the variance."""
    import torch

    x = stack.double()
    n, m = x.shape
    mean = x.mean(1, keepdim=True)
    if rule.centre:
        x = x - mean
    values, vectors = torch.linalg.eigh(x @ x.T if n <= m else x.T @ x)
    values, vectors = values.flip(0).clamp(min=0), vectors.flip(1)
    explained = values.cumsum(0) / values.sum()
    k = rule.k or max(least, int((explained < rule.variance - 1e-12).sum()) + 1)
    k = max(1, min(k, int((values > _NOISE**2 * values[0]).sum())))
    basis = vectors[:, :k]
    if n > m:
        steep = values[k - 1] <= _STEEP * values[0]  # then a mere division leaves the columns askew
        basis = torch.linalg.qr(x @ basis).Q if steep else x @ basis / values[:k].sqrt()
    if rule.centre and (mean - basis @ (basis.T @ mean)).norm() > _NOISE * stack.norm():
        basis = torch.linalg.qr(torch.cat([basis, mean], 1)).Q
    return basis.float().contiguous()


def _square(b: Any, a: Any) -> float:
    """||b a||^2 of (n x r) and (r x d), in float64, without the n x d product."""
    b, a = b.double(), a.double()
    return float(((b.T @ b) * (a @ a.T)).sum())
