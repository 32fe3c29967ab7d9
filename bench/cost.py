"""What the second task of a stream costs with each algorithm, over `naive`.

    python bench/cost.py                       16 steps of 4 pairs, SmolLM2
    python bench/cost.py ewc,olora 32 8        these algorithms, 32 steps, batches of 8
    python bench/cost.py ewc 16 2 model=qwen2.5-coder-0.5b

A first task (one step) is past; the second is trained by naive and by the algorithm in turn, twice each. Seconds are
the processor's of the whole training, loading included. Prints the ratio of means.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from hydra import compose, initialize_config_dir

from sleepy.options import CONF
from sleepy.pairs.builtin import load_pairs, sample
from sleepy.progress import hush
from sleepy.settings import Settings, register, settings
from sleepy.train.batches import Example
from sleepy.train.training import NOTHING, Past, Training

TURNS = 2
ALL = "ewc,olora,share,coef_only,sam,sure"


def main(names: str = ALL, steps: str = "16", batch: str = "4", *words: str) -> None:
    """Measure and print."""
    hush()
    register()
    found: dict[str, Settings] = {}
    with initialize_config_dir(str(CONF), version_base="1.3"):
        for name in ["naive", *names.split(",")]:
            found[name] = settings(compose("config", ["model=smollm2-135m", f"algo={name}", *words]))
    opts = found["naive"]
    base = opts.model.fetch(Path(opts.cache).expanduser())
    checker = opts.sandbox.open(Path(opts.cache).expanduser())
    tasks = sample(load_pairs(), 2 * int(batch) + 8, 0).tasks
    broken = checker.check_all([t.broken_job for t in tasks])
    repair, train = opts.repair, replace(opts.train, steps=int(steps), batch_size=int(batch))
    examples = [Example(repair.first(t, b), repair.answer(t.fix), t) for t, b in zip(tasks, broken, strict=True)]
    old, new = examples[:8], examples[8:]

    def seconds(name: str, past: Past, folder: Path, steps: int) -> float:
        start = time.process_time()
        training = Training(
            base=base, examples=new if past.examples else old, lora=opts.lora, settings=replace(train, steps=steps),
            device="cpu", seed=0, folder=folder / "adapter", checkpoint=folder / "checkpoint", record={}, past=past,
        )  # fmt: skip
        found[name].algo.fit(training)
        return time.process_time() - start

    for name in list(found)[1:]:
        with tempfile.TemporaryDirectory() as place:
            times: dict[str, list[float]] = {"naive": [], name: []}
            pasts = {}
            for first in times:
                seconds(first, NOTHING, Path(place) / first, 1)
                pasts[first] = Past((tuple(old),), Path(place) / first / "adapter")
            for turn in range(TURNS):
                for second in times:
                    times[second].append(seconds(second, pasts[second], Path(place) / f"{second}-{turn}", train.steps))
        own, naive = (statistics.mean(times[n]) for n in (name, "naive"))
        print(f"{name}: {own:.1f} s, naive {naive:.1f} s, ratio {own / naive:.2f}", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
