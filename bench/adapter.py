"""An adapter hot on the loaded model against the same one merged and quantised first: what each costs.

    python bench/adapter.py                       12 koans of koans_mini, Qwen2.5-Coder-0.5B, r = 8
    python bench/adapter.py qwen2.5-coder-1.5b 12 16

The adapter is an untrained one (B = 0), so every answer is the base model's and only the work differs. Prints the time
of hot answers over the base model's, the seconds of a merge, on how many koans both cost the same, and that over
(bytes of the weights / bytes of the adapter), which is `_KOANS` in sleepy/evaluate/default.py.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from engine import chosen, ours
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from sleepy.artifacts import Adapter
from sleepy.engines.llama_cpp import LlamaCpp
from sleepy.study.serving import hot_adapters, merged
from sleepy.tensors import WEIGHTS, digest_of_tensors

ROUNDS = 3


def untrained(weights: Path, rank: int, folder: Path, base: str) -> Adapter:
    """An adapter whose update is zero, on all linear layers."""
    model = AutoModelForCausalLM.from_pretrained(weights)
    get_peft_model(model, LoraConfig(r=rank, target_modules="all-linear")).save_pretrained(folder)
    digest = digest_of_tensors(load_file(folder / "adapter_model.safetensors"))
    return Adapter(folder, digest, base, (), 0.0, 0, 0)


def main(model: str = "qwen2.5-coder-0.5b", count: str = "12", rank: str = "8") -> None:
    """Measure and print."""
    served, _, prompts, _, opts, base = chosen(model, "koans_mini", int(count))
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        adapter = untrained(base.weights, int(rank), folder / "adapter", base.digest)
        hot = hot_adapters({"hot": adapter}, base, folder)
        plain, on = 0.0, 0.0
        with LlamaCpp(threads=len(os.sched_getaffinity(0))).open(replace(served, adapters=hot)) as session:
            session.generate(prompts[:1])
            for _ in range(ROUNDS):
                plain += ours(session, prompts)[1] / ROUNDS
                on += ours(session, [replace(p, adapter="hot") for p in prompts])[1] / ROUNDS
        start = time.perf_counter()
        with merged(served, adapter, base, opts["merge"], opts["export"], folder):
            merge = time.perf_counter() - start
        even = merge / ((on - plain) / len(prompts))
        sizes = (base.weights / WEIGHTS).stat().st_size / (adapter.folder / "adapter_model.safetensors").stat().st_size
    print(f"{served.name}, {len(prompts)} koans, r = {rank}")
    print(f"  base {plain:.1f} s, hot {on:.1f} s, ratio {on / plain:.2f}; merged and quantised in {merge:.1f} s")
    print(
        f"  the same at {even:.0f} koans, {even / sizes:.2f} times the weights' bytes over the adapter's ({sizes:.0f})"
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
