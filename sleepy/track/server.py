"""A store behind an MLflow server: runs and artifacts go through it, and this machine keeps copies of what it reads."""

from __future__ import annotations

import os
from pathlib import Path

from sleepy.errors import ConfigError, NetworkError
from sleepy.track.store import KIND, Store, explained, lock_in

_SECONDS = 10.0  # in which a server must say that it is there; MLflow itself would try for minutes


def open_server(uri: str, folder: Path, experiment: str) -> Store:
    """Open the store of the server at `uri`, creating the experiment where it is missing. Locks and copies are kept in
    `folder`: processes of this machine wait for each other, those of others do not.

    Raises NetworkError when no MLflow server answers, and ConfigError for one that does not take artifacts.
    """
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # read when MLflow is imported
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")  # stdout is the command's own
    import requests
    from mlflow.tracking import MlflowClient

    try:
        known = requests.get(f"{uri.rstrip('/')}/version", timeout=_SECONDS).ok
    except requests.RequestException as error:
        raise NetworkError(f"track.uri: {uri} does not answer: {error}. Is `mlflow server` running there?") from error
    if not known:
        raise NetworkError(f"track.uri: what answers at {uri} is no MLflow server")
    client = MlflowClient(uri, registry_uri=uri)
    folder = folder.expanduser().resolve()
    with explained(uri):
        folder.mkdir(parents=True, exist_ok=True)
        lock = lock_in(folder)
        with lock:
            found = client.get_experiment_by_name(experiment)
            number = found.experiment_id if found else client.create_experiment(experiment, tags=KIND)
            place = client.get_experiment(number).artifact_location
    if place.startswith(("/", "file:", ".")):
        raise ConfigError(
            f"track.uri: the server keeps the artifacts of {experiment} in {place}, on its own disk. Start it with "
            "--serve-artifacts and --artifacts-destination, and choose another track.experiment"
        )
    return Store(uri, folder, number, client, lock, remote=True)
