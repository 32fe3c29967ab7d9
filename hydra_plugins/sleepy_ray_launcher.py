"""Tells Hydra of sleepy's launcher for Ray.

Hydra finds launchers in this namespace alone and reads this file whatever it is asked for, so nothing else is loaded
here. Its options stand in conf/hydra/launcher/ray.yaml.
"""

from collections.abc import Sequence
from typing import Any

from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher


class RayLauncher(Launcher):
    """Hands jobs to a Ray cluster: see sleepy.sweep.on_ray."""

    def __init__(self, address: str, cpus: int, gpus: int, retries: int) -> None:
        self.address, self.cpus, self.gpus, self.retries = address, cpus, gpus, retries

    def setup(self, *, hydra_context: Any, task_function: Any, config: Any) -> None:
        """See Launcher.setup."""
        self.context, self.task, self.config = hydra_context, task_function, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """See Launcher.launch."""
        from sleepy.sweep.on_ray import RemoteJob, Resources, launched

        resources = Resources(self.address, self.cpus, self.gpus, self.retries)
        jobs = [
            RemoteJob(self.config, self.context, self.task, tuple(words), initial_job_idx + i)
            for i, words in enumerate(job_overrides)
        ]
        return launched(jobs, resources)
