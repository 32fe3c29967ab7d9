"""Whole jobs as tests start them and look at them: as a process, or in this one on a tiny model."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from sleepy.settings import Settings

ROOT = Path(__file__).parent.parent
# One thread, since tests run side by side; a rate at which two steps make an update that a file can keep.
SMALL = ["experiment=smoke", "train.checkpoint_every=1", "engine.threads=1", "train.lr=0.002"]


def sleepy(folder: Path, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
    """`python run.py words` in `folder`."""
    argv = [sys.executable, str(ROOT / "run.py"), *words]
    return subprocess.run(argv, cwd=folder, capture_output=True, text=True, env={**os.environ, **env})


def composed(*words: str, hydra: bool = False) -> Any:
    """The config that `python run.py words` would run, in this process; with Hydra's own part if asked."""
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    from sleepy import settings

    settings.register()
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        return compose("config", list(words), return_hydra_config=hydra)


def chosen(*words: str) -> Settings:
    """The settings of `python run.py words`."""
    from sleepy.settings import settings

    return settings(composed(*words))


def job(folder: Path, *words: str) -> Any:
    """The same in this process, whose working directory must be `folder`; the MLflow run that it made. What it raises
    is raised here."""
    from hydra.core.hydra_config import HydraConfig
    from omegaconf import OmegaConf, open_dict

    from sleepy import pipeline

    number = len(list(folder.glob("outputs/job-*")))
    output = folder / "outputs" / f"job-{number}"
    output.mkdir(parents=True)
    config = composed(*words, hydra=True)
    OmegaConf.set_readonly(config.hydra, False)
    with open_dict(config):
        config.hydra.runtime.output_dir = str(output)
        HydraConfig.instance().set_config(config)
        del config["hydra"]
    pipeline.run(config)
    return [run for run in runs(folder) if "mlflow.parentRunId" not in run.data.tags][-1]


def runs(folder: Path) -> list[Any]:
    """The runs of the folder's store, oldest first."""
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    (experiment,) = client.search_experiments(filter_string="name = 'sleepy'")
    return client.search_runs([experiment.experiment_id], order_by=["attributes.start_time ASC"])


def artifacts(run: Any) -> Path:
    """The folder of a run's artifacts."""
    return Path(run.info.artifact_uri.removeprefix("file://"))


def own_cache(folder: Path) -> str:
    """A cache for one run alone: what an earlier one measured would not be asked again. The models are shared."""
    models = Path(os.environ.get("SLEEPY_CACHE", "~/.cache/sleepy")).expanduser() / "models"
    (folder / "cache").mkdir()
    (folder / "cache" / "models").symlink_to(models)
    return f"cache={folder / 'cache'}"
