"""How long a sweep of 500 jobs is composed and checked, against Hydra composing every job. Prints the ratio."""

from __future__ import annotations

import itertools
import time

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra

from sleepy.options import CONF
from sleepy.settings import register, settings
from sleepy.sweep.compose import Composer

SWEEPS = {
    "values": ["experiment=smoke", "lora.r=2,4,8,16,32", f"seed={','.join(map(str, range(100)))}"],
    "choices": [
        "algo=naive,replay,ewc,sam,sure,osf,olora,ssr,share,targeted", "merge=none,average,linear,cat,svd",
        "data=all,mixed", "seed=0,1,2,3,4",
    ],
}  # fmt: skip
SAMPLE = 25  # jobs that Hydra composes


def main() -> None:
    """Measure and print. CPU seconds, so that other work on the machine counts less."""
    register()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        for name, words in SWEEPS.items():
            axes = [[f"{w.partition('=')[0]}={value}" for value in w.partition("=")[2].split(",")] for w in words]
            jobs = list(itertools.product(*axes))
            settings(compose("config", list(jobs[0])))  # imports
            start = time.process_time()
            composer = Composer(loader, "config")
            for job in jobs:
                settings(composer.compose(job))
            ours = time.process_time() - start
            start = time.process_time()
            for job in jobs[:: len(jobs) // SAMPLE]:
                settings(compose("config", list(job)))
            theirs = (time.process_time() - start) * len(jobs) / SAMPLE
            print(
                f"{name:8} {len(jobs)} jobs: {ours:.1f} s of CPU, Hydra alone {theirs:.0f} s, ratio {ours / theirs:.3f}"
            )


if __name__ == "__main__":
    main()
