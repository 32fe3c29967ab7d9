"""Share's phase 1 over 51 random adapters of a 1.5B model's shapes: seconds, peak memory, and the time that a plain
torch.linalg.svd of the stacks would take (measured on one stack of each height, times their number). Seconds are the
clock's, and the processor's summed over threads: on a busy machine the clock says little.

Random adapters share nothing: 60 % of their variance takes more directions than that of trained ones, so this is the
dearest case. The adapters lie on disk (1.9 GB, in the temporary folder) as a run would find them."""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent.parent))
from sleepy.adapters.find import find_adapters
from sleepy.adapters.folder import read_all, write_lora
from sleepy.train.shared_basis import Rule, Shared, build, directions

ADAPTERS, RANK, LAYERS, HIDDEN, INNER, KV = 51, 8, 28, 1536, 8960, 256
SHAPES = {  # out, in: Qwen2.5-1.5B
    "self_attn.q_proj": (HIDDEN, HIDDEN), "self_attn.k_proj": (KV, HIDDEN), "self_attn.v_proj": (KV, HIDDEN),
    "self_attn.o_proj": (HIDDEN, HIDDEN), "mlp.gate_proj": (INNER, HIDDEN), "mlp.up_proj": (INNER, HIDDEN),
    "mlp.down_proj": (HIDDEN, INNER),
}  # fmt: skip


def peak() -> float:
    """The process's largest memory so far, in GB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e9


def random_adapter(seed: int) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """B and A of every linear layer."""
    generator = torch.Generator().manual_seed(seed)
    return {
        f"model.layers.{i}.{name}": (
            torch.randn(n, RANK, generator=generator),
            torch.randn(RANK, d, generator=generator),
        )
        for i in range(LAYERS)
        for name, (n, d) in SHAPES.items()
    }


class Watch:
    """Seconds since it was made: the clock's and the processor's."""

    def __init__(self) -> None:
        self.clock, self.cpu = time.perf_counter(), time.process_time()

    def __str__(self) -> str:
        return f"{time.perf_counter() - self.clock:.1f} s (processor {time.process_time() - self.cpu:.1f} s)"


def plain_svd() -> float:
    """Processor seconds of a thin SVD of all stacks, from one of each height."""
    total = 0.0
    heights = [height for shape in SHAPES.values() for height in shape]
    for height in sorted(set(heights)):
        stack = torch.randn(height, ADAPTERS * RANK)
        start = time.process_time()
        torch.linalg.svd(stack, full_matrices=False)
        total += (time.process_time() - start) * heights.count(height) * LAYERS
    return total


def bases(adapters: dict[str, dict[str, tuple[torch.Tensor, torch.Tensor]]], rule: Rule) -> float:
    """Processor seconds of what replaces those SVDs: the directions of all stacks, without coefficients."""
    start = time.process_time()
    for name in next(iter(adapters.values())):
        directions(torch.cat([factors[name][0] for factors in adapters.values()], 1), rule)
        directions(torch.cat([factors[name][1].T for factors in adapters.values()], 1), rule)
    return time.process_time() - start


def describe(shared: Shared) -> str:
    """Its size, and the range of k."""
    size = shared.storage()
    ks = [basis.shape[1] for layer in shared.layers.values() for basis in (layer.beta, layer.alpha)]
    return (
        f"k {min(ks)} to {max(ks)}, p {shared.p}; {size.adapters / 1e6:.0f} MB of adapters in "
        f"{size.shared / 1e6:.0f} MB (ratio {size.ratio:.2f}), one more {size.one_more / 1e3:.0f} kB"
    )


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(ADAPTERS):
            write_lora(random_adapter(seed), Path(folder) / "adapters" / f"{seed:02}", "random")
        watch = Watch()
        adapters = read_all(find_adapters([Path(folder) / "adapters"]))
        print(f"{torch.get_num_threads()} threads; {ADAPTERS} adapters read in {watch}", flush=True)
        for rule in (Rule(variance=0.6), Rule(k=32)):
            watch = Watch()
            shared = build(adapters, rule)
            print(f"{rule}: phase 1 {watch}", flush=True)
            watch = Watch()
            errors = [shared.error(task, adapter) for task, adapter in adapters.items()]
            print(f"  errors of all adapters {watch}; peak so far {peak():.2f} GB")
            print(f"  {describe(shared)}; error {min(errors):.2f} to {max(errors):.2f}", flush=True)
            del shared
        ours, plain = bases(adapters, Rule()), plain_svd()
    print(f"bases alone, processor: {ours:.1f} s; plain SVD of the same stacks {plain:.1f} s: {ours / plain:.2f} of it")


if __name__ == "__main__":
    main()
