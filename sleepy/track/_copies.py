"""Copies of a run's artifacts that lie behind a server."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlflow.entities import FileInfo
    from mlflow.tracking import MlflowClient


def copied(client: MlflowClient, run_id: str, within: str, folder: Path) -> Path:
    """The file or folder `within` a run's artifacts, brought into `folder`; a file that is there with the same size is
    not brought again. What the run has not got is not there either. Files come whole or not at all."""
    for found in files_of(client, run_id, within):
        target = folder / run_id / found.path
        if target.is_file() and target.stat().st_size == found.file_size:
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as partial:
            os.replace(client.download_artifacts(run_id, found.path, partial), target)
    return folder / run_id / within


def files_of(client: MlflowClient, run_id: str, within: str = "") -> Iterator[FileInfo]:
    """All files in a folder of the artifacts, or the file itself, which its folder lists."""
    listed = client.list_artifacts(run_id, within or None)
    if within and not listed:
        above = within.rpartition("/")[0]
        yield from (e for e in client.list_artifacts(run_id, above or None) if e.path == within and not e.is_dir)
    for entry in listed:
        if entry.is_dir:
            yield from files_of(client, run_id, entry.path)
        else:
            yield entry
