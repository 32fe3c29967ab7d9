"""General ability: what an adapter does to texts that no pair resembles.

The texts lie in `general/`, a file for each kind: English prose, Python, Rust, shell, JSON; about 1400 tokens. They
were written for this and stay as they are, so that the figures of different runs can be compared.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from sleepy.artifacts import Adapter, BaseModel, digest_of
from sleepy.files import write_json, write_tensors
from sleepy.tensors import WEIGHTS
from sleepy.train.device import pick_device

TEXTS = Path(__file__).parent / "general"
STRIDE = 2  # of the places of a text every second is looked at: the head is a quarter of a small model's work
TOP = 1024  # likeliest tokens of the base that are told apart at each place
_ROWS = 128  # places whose logits are turned into probabilities at once: a vocabulary is large
_VERSION = 1  # raise it when the figures of the same inputs may change


@dataclass(frozen=True)
class Ability:
    """What general texts say of an adapter, in nats a token. loss, base_loss: mean negative log-likelihood of the texts
    with the adapter and without. kl: mean of KL(base || adapted) over the places where a token is predicted. by_kind:
    kl of each kind of text."""

    loss: float
    base_loss: float
    kl: float
    by_kind: dict[str, float]

    @property
    def line(self) -> str:
        """The figures in words, for a terminal's line."""
        most = max(self.by_kind, key=self.by_kind.__getitem__)
        return (
            f"general texts: loss {self.base_loss:.3f} -> {self.loss:.3f}, "
            f"KL to the base {self.kl:.2g} (most: {most} {self.by_kind[most]:.2g})"
        )

    def metrics(self) -> dict[str, float]:
        """The figures by name."""
        kinds = {f"ability/{kind}/kl": kl for kind, kl in self.by_kind.items()}
        return {"ability/loss": self.loss, "ability/base_loss": self.base_loss, "ability/kl": self.kl, **kinds}


def general_texts() -> dict[str, str]:
    """Kind -> text."""
    return {path.stem: path.read_text(encoding="utf-8") for path in sorted(TEXTS.glob("*.txt"))}


def ability(adapter: Adapter, base: BaseModel, device: str, known: Path) -> Ability | None:
    """The figures of an adapter on its base model; None where memory is too short for the model in float32. (In bf16
    rounding alone makes a KL of about 0.001, a hundred times that of a small adapter.)

    What was measured before, by any run, is read from the folder `known`, and so is what the base says. The base's
    distribution at a place is kept as its TOP likeliest tokens and the rest as one. Telling fewer outcomes apart can
    only make a divergence smaller (T. M. Cover and J. A. Thomas, Elements of Information Theory (2006), section 2.7),
    so `kl` is a lower bound, a few per cent below the whole.
    """
    device = pick_device(device)
    packages = [version(name) for name in ("torch", "transformers", "peft")]
    key = [_VERSION, STRIDE, TOP, base.digest, digest_of(general_texts()), device, *packages]
    path = known / f"ability-{digest_of([*key, adapter.digest])}.json"
    if path.is_file():
        return Ability(**json.loads(path.read_text(encoding="utf-8")))
    if 2 * (base.weights / WEIGHTS).stat().st_size > _free(device):
        return None
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(base.weights, dtype=torch.float32).to(device).eval()
    reference = _reference(model, base, known / f"ability-{digest_of(key)}.safetensors")
    adapted = PeftModel.from_pretrained(model, str(adapter.folder)).eval()
    loss, base_loss, by_kind, places = 0.0, 0.0, dict[str, float](), 0
    for kind, targets, logits in _asked(adapted, base):
        nll, kl = _compared(reference, kind, targets, logits)
        by_kind[kind], places = kl / len(targets), places + len(targets)
        loss, base_loss = loss + nll, base_loss + float(reference[f"{kind}.nll"].sum())
    sizes = {kind: len(reference[f"{kind}.nll"]) for kind in by_kind}
    mean = sum(by_kind[kind] * sizes[kind] for kind in by_kind) / places
    found = Ability(loss / places, base_loss / places, mean, by_kind)
    write_json(path, asdict(found))
    return found


def _free(device: str) -> int:
    """Bytes of memory that the device has left."""
    if device == "cuda":
        import torch

        return int(torch.cuda.mem_get_info()[0])
    import psutil

    return int(psutil.virtual_memory().available)


def _asked(model: Any, base: BaseModel) -> Iterator[tuple[str, Any, Any]]:
    """Each kind with tokens of its text, STRIDE apart, (places,), and their logits, (places, vocabulary)."""
    import torch
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(base.weights)
    for kind, text in general_texts().items():
        ids = tokenizer(text, add_special_tokens=False, return_tensors="pt")["input_ids"].to(model.device)
        places = torch.arange(0, ids.shape[1] - 1, STRIDE, device=model.device)
        with torch.inference_mode():
            logits = model(input_ids=ids, use_cache=False, logits_to_keep=places).logits[0]
        yield kind, ids[0, places + 1], logits


def _log_probabilities(logits: Any) -> Iterator[tuple[slice, Any]]:
    """Log probabilities, for some places at a time."""
    for start in range(0, len(logits), _ROWS):
        rows = slice(start, start + _ROWS)
        yield rows, logits[rows].log_softmax(dim=-1)


def _reference(model: Any, base: BaseModel, path: Path) -> Mapping[str, Any]:
    """What the base says of each text, kept at `path`: "<kind>.nll" is the negative log-likelihood of each token,
    "<kind>.tokens" and "<kind>.logs" are the likeliest tokens at its place and their log probabilities."""
    import torch
    from safetensors.torch import load_file

    if not path.is_file():
        found = {}
        for kind, targets, logits in _asked(model, base):
            nll, tokens, logs = [], [], []
            for rows, row_logs in _log_probabilities(logits):
                top = row_logs.topk(min(TOP, row_logs.shape[1]))
                nll.append(-row_logs.gather(1, targets[rows, None])[:, 0])
                tokens.append(top.indices.int())
                logs.append(top.values)
            for name, parts in (("nll", nll), ("tokens", tokens), ("logs", logs)):
                found[f"{kind}.{name}"] = torch.cat(parts).cpu()
        write_tensors(path, found)
    return dict(load_file(path))


def _compared(reference: Mapping[str, Any], kind: str, targets: Any, logits: Any) -> tuple[float, float]:
    """Negative log-likelihood of a text, and KL(base || adapted), sums over its places."""
    nll, kl = 0.0, 0.0
    for rows, logs in _log_probabilities(logits):
        nll -= float(logs.gather(1, targets[rows, None]).sum())
        tokens = reference[f"{kind}.tokens"][rows].long().to(logs.device)
        before = reference[f"{kind}.logs"][rows].to(logs.device).double()
        after = logs.gather(1, tokens).double()
        rest = [(1 - part.exp().sum(dim=1)).clamp_min(1e-12) for part in (before, after)]
        kl += float((before.exp() * (before - after)).sum() + (rest[0] * (rest[0] / rest[1]).log()).sum())
    return nll, kl
