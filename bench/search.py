"""What search costs beside one answer and beside as many drawn answers, on the same koans of koans_val.

    python bench/search.py [MODEL [KOANS]]       qwen2.5-coder-0.5b, 12 koans

Prints, for each strategy, seconds of the model and generated tokens as ratios to those of single_shot, and how many
koans pass. The bound of the ratio is that of the tokens that must be evaluated: the prompt once, then what differs.
Nothing is cached: every answer is generated here.
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from hydra import compose, initialize_config_dir

from sleepy.artifacts import Served
from sleepy.engines.llama_cpp import LlamaCpp
from sleepy.evaluate.harness import Examination
from sleepy.options import CONF
from sleepy.repair.best_of_n import BestOfN
from sleepy.repair.search import Search
from sleepy.repair.single_shot import SingleShot
from sleepy.settings import register, settings

STRATEGIES = {
    "single_shot": SingleShot(),
    "best_of_n, n=8": BestOfN(n=8),
    "search by the model alone": Search(rustfix_first=False, suggestions=False),
    "search": Search(),
}


def main(model: str = "qwen2.5-coder-0.5b", count: str = "12") -> None:
    """Measure and print."""
    register()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        opts = settings(compose("config", [f"model={model}", "tasks=koans_val"]))
    base = opts.model.fetch(Path(opts.cache).expanduser())
    served = Served(base.name, base.gguf, base.weights, base.digest)
    every = opts.tasks.load()
    tasks = replace(every, tasks=every.tasks[:: len(every) // int(count)][: int(count)])
    with tempfile.TemporaryDirectory() as folder:
        judge = opts.sandbox.open(Path(folder))
        unit: tuple[float, int] | None = None
        print(f"{'strategy':36} seconds  tokens  answers  passed")
        for name, repair in STRATEGIES.items():
            results = Examination(LlamaCpp(), repair, judge).run(served, tasks).results
            attempts = [a for r in results for a in r.attempts]
            seconds, tokens = sum(a.seconds for a in attempts), sum(a.completion_tokens for a in attempts)
            unit = unit or (seconds, tokens)
            passed = sum(r.passed for r in results)
            print(
                f"{name:36} {seconds / unit[0]:7.2f} {tokens / unit[1]:7.2f} {len(attempts):8} {passed:4}/{len(tasks)}"
            )


if __name__ == "__main__":
    main(*sys.argv[1:])
