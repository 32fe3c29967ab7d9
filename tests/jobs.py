"""Whole jobs from the command line, as tests start them and look at them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
SMALL = ["experiment=smoke", "train.checkpoint_every=1"]


def sleepy(folder: Path, *words: str, timeout: float = 600) -> subprocess.CompletedProcess[str]:
    """`python run.py words` in `folder`."""
    argv = [sys.executable, str(ROOT / "run.py"), *words]
    return subprocess.run(argv, cwd=folder, capture_output=True, text=True, timeout=timeout)


def runs(folder: Path) -> list[Any]:
    """The runs of the folder's store, oldest first."""
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    (experiment,) = client.search_experiments(filter_string="name = 'sleepy'")
    return client.search_runs([experiment.experiment_id], order_by=["attributes.start_time ASC"])


def own_cache(folder: Path) -> str:
    """A cache for one run alone: what an earlier one measured would not be asked again. The models are shared."""
    models = Path(os.environ.get("SLEEPY_CACHE", "~/.cache/sleepy")).expanduser() / "models"
    (folder / "cache").mkdir()
    (folder / "cache" / "models").symlink_to(models)
    return f"cache={folder / 'cache'}"
