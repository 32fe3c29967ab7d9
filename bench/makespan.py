"""A sweep of smoke jobs on each launcher, beside the same jobs as single commands: makespan, what a job costs beside
training and generating, and the disk that its adapters take.

    python bench/makespan.py [JOBS [LAUNCHER ...]]       12 jobs; basic, joblib and ray

Ratios to the single commands, which are run first. Every way has a store and a cache of measurements of its own.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
LAUNCHERS = {
    "basic": ("hydra/launcher=basic",),
    "joblib": ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2"),
    "ray": ("hydra/launcher=ray", "hydra.launcher.cpus=1"),
}
WORDS = ("experiment=smoke", "report.pictures=false")
WORK = ("baseline", "train", "evaluate", "gate: baseline", "gate", "ability", "recovery")  # training and generating


def command(folder: Path, *words: str) -> float:
    """Seconds of `run.py words`, in `folder`, with the models that are there and nothing else."""
    models = Path(os.environ.get("SLEEPY_CACHE", "~/.cache/sleepy")).expanduser() / "models"
    cache = folder / "cache"
    cache.mkdir(parents=True, exist_ok=True)
    if not (cache / "models").exists():
        (cache / "models").symlink_to(models)
    start = time.perf_counter()
    argv = [sys.executable, str(ROOT / "run.py"), *words, *WORDS, f"cache={cache}"]
    done = subprocess.run(argv, cwd=folder, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    return time.perf_counter() - start


def figures(folder: Path) -> tuple[float, float]:
    """Seconds a job that are neither training nor generating, and bytes of the artifacts over those of the adapters."""
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    (experiment,) = client.search_experiments(filter_string="name = 'sleepy'")
    jobs = [r for r in client.search_runs([experiment.experiment_id]) if "adapter.digest" in r.data.tags]
    other = [
        (r.info.end_time - r.info.start_time) / 1000 - sum(r.data.metrics.get(f"seconds/{w}", 0.0) for w in WORK)
        for r in jobs
    ]
    files = [path for path in (folder / "mlruns").rglob("*") if path.is_file()]
    adapters = sum(
        path.stat().st_size for path in files if path.parent.name == "adapter" and path.suffix == ".safetensors"
    )
    return sum(other) / len(other), sum(path.stat().st_size for path in files) / adapters


def main(count: str = "12", *names: str) -> None:
    """Measure and print."""
    seeds = [f"seed={seed}" for seed in range(int(count))]
    with tempfile.TemporaryDirectory() as place:
        alone = Path(place) / "alone"
        unit = sum(command(alone, seed) for seed in seeds)
        rows = [("commands", unit, *figures(alone))]
        for name in names or tuple(LAUNCHERS):
            folder = Path(place) / name
            swept = command(folder, "-m", *LAUNCHERS[name], f"seed={','.join(map(str, range(int(count))))}")
            rows.append((name, swept, *figures(folder)))
        print(f"{'way':10} makespan  other seconds a job  artifacts / adapters")
        for name, seconds, other, disk in rows:
            print(f"{name:10} {seconds / unit:8.2f} {other:20.1f} {disk:21.2f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
