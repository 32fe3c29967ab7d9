"""Jobs of a sweep as tasks of a Ray cluster.

A worker composes its own config from the job's words, in the folder and with the code of the process that launched it.
Its process ends with the job (max_calls=1), so that no job finds what another one left in memory.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from hydra.core.utils import JobReturn, JobStatus

from sleepy.errors import ConfigError


class Resources(NamedTuple):
    """address: of the cluster; "local" starts one on this machine. cpus, gpus: of each job. retries: how often a job is
    begun again whose process or node dies."""

    address: str
    cpus: int
    gpus: int
    retries: int


@dataclass(frozen=True)
class RemoteJob:
    """What a worker is given: Hydra's config of the sweep, its context, the function to call, the job's words and its
    number."""

    config: Any
    context: Any
    task: Any
    words: tuple[str, ...]
    number: int

    def run(self, singletons: Any) -> JobReturn:
        """Compose the config and call the function, as Hydra's own launcher does. What a job raises is part of what is
        returned."""
        from hydra.core.hydra_config import HydraConfig
        from hydra.core.singleton import Singleton
        from hydra.core.utils import run_job, setup_globals
        from omegaconf import open_dict

        setup_globals()
        Singleton.set_state(singletons)
        config = self.context.config_loader.load_sweep_config(self.config, list(self.words))
        with open_dict(config):
            config.hydra.job.id = config.hydra.job.num = self.number
        HydraConfig.instance().set_config(config)
        return run_job(
            task_function=self.task,
            config=config,
            job_dir_key="hydra.sweep.dir",
            job_subdir_key="hydra.sweep.subdir",
            hydra_context=self.context,
        )


def launched(jobs: Sequence[RemoteJob], asked: Resources) -> list[JobReturn]:
    """What the jobs came to, in their order. One that fails, or whose process dies too often, does not stop the others.
    Raises ConfigError for a cluster that is not there, or that has no node for such a job."""
    import ray
    from hydra.core.singleton import Singleton

    try:
        _reach(asked.address)
        ray.init(asked.address, include_dashboard=False if asked.address == "local" else None)
    except (OSError, RuntimeError, ValueError) as error:
        raise ConfigError(f"hydra.launcher.address={asked.address}: {' '.join(str(error).split())}") from error
    try:
        _require_node(ray.nodes(), asked)
        # Ray sets OMP_NUM_THREADS to 1 by itself
        variables = {**_ours(), "OMP_NUM_THREADS": str(asked.cpus)}
        remote = ray.remote(
            num_cpus=asked.cpus,
            num_gpus=asked.gpus,
            max_calls=1,
            max_retries=asked.retries,
            runtime_env={"env_vars": variables},
        )(_work)
        singletons = Singleton.get_state()
        left = [remote.remote(job, singletons, os.getcwd()) for job in jobs]
        return [_result(ray, one, job) for one, job in zip(left, jobs, strict=True)]
    finally:
        ray.shutdown()


def _work(job: RemoteJob, singletons: Any, folder: str) -> JobReturn:
    os.chdir(folder)
    return job.run(singletons)


def _ours() -> dict[str, str]:
    """The variables of this process that change what a job does, or where."""
    names = ("SLEEPY_CACHE", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "HYDRA_FULL_ERROR", "PYTHONPATH")
    return {name: os.environ[name] for name in names if name in os.environ}


def _reach(address: str) -> None:
    """Raises OSError where nothing answers at an address with a port: Ray would end this process."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host, int(port)), timeout=10).close()


def _require_node(nodes: Sequence[dict[str, Any]], asked: Resources) -> None:
    """Ray would wait for ever."""
    most = [n["Resources"] for n in nodes if n["Alive"]]
    if not any(r.get("CPU", 0) >= asked.cpus and r.get("GPU", 0) >= asked.gpus for r in most):
        there = ", ".join(f"{r.get('CPU', 0):g} cores and {r.get('GPU', 0):g} GPUs" for r in most) or "no node"
        raise ConfigError(
            f"hydra.launcher.cpus={asked.cpus} hydra.launcher.gpus={asked.gpus}: no node of the cluster has so many. "
            f"There is {there}"
        )


def _result(ray: Any, left: Any, job: RemoteJob) -> JobReturn:
    try:
        found: JobReturn = ray.get(left)
    except ray.exceptions.RayError as error:  # the process died more often than it may
        found = JobReturn(overrides=list(job.words), status=JobStatus.FAILED)
        found.return_value = error
    return found
