"""A store whose folder was moved or copied: MLflow records absolute places of artifacts, which are mended once."""

from __future__ import annotations

import sqlite3
from pathlib import Path

_PLACES = (
    ("runs", "artifact_uri"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
    ("logged_models", "artifact_location"),
)


def mend_places(connection: sqlite3.Connection, artifacts: Path) -> dict[Path, int]:
    """Let the database name the artifacts that lie below the absolute folder `artifacts`, beside it, where it names the
    folder that they were moved or copied from; by that, how many runs there were. Nothing is committed.

    Artifacts that are not here stay where they are said to be: somebody may keep them on another disk on purpose.
    """
    runs_of: dict[Path, int] = {}
    for former in _former(connection, artifacts):
        runs = [_path(uri) for (uri,) in connection.execute("SELECT artifact_uri FROM runs")]
        ours = [path for path in runs if path and path.is_relative_to(former)]
        here = [path for path in ours if (artifacts / path.relative_to(former)).exists()]
        if not here and (ours or former.exists()):
            continue
        for table, column in _PLACES:
            _rewrite(connection, table, column, former, artifacts)
        _rewrite(connection, "experiments", "artifact_location", former, artifacts, always=True)
        runs_of[former] = len(here)
    return runs_of


def _former(connection: sqlite3.Connection, artifacts: Path) -> list[Path]:
    """Folders of the same name, elsewhere, that experiments have their artifacts in as MLflow lays them out."""
    rows = connection.execute("SELECT experiment_id, artifact_location FROM experiments").fetchall()
    places = [(str(number), _path(place)) for number, place in rows]
    roots = {path.parent for number, path in places if path and path.name == number}
    return sorted(root for root in roots if root.name == artifacts.name and root != artifacts)


def _rewrite(
    connection: sqlite3.Connection, table: str, column: str, former: Path, artifacts: Path, always: bool = False
) -> None:
    """Replace `former` by `artifacts` at the beginning of a column, where the file is here, or is not there."""
    for row, value in connection.execute(f"SELECT rowid, {column} FROM {table}").fetchall():
        path = _path(value)
        if path and path.is_relative_to(former):
            new = artifacts / path.relative_to(former)
            if always or new.exists() or not path.exists():
                connection.execute(f"UPDATE {table} SET {column} = ? WHERE rowid = ?", (new.as_uri(), row))


def _path(place: str | None) -> Path | None:
    """A local address of MLflow's as a path; None for any other."""
    from mlflow.utils.file_utils import local_file_uri_to_path
    from mlflow.utils.uri import is_local_uri

    return Path(local_file_uri_to_path(place)) if place and is_local_uri(place) else None
