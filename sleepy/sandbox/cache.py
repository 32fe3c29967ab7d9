"""Verdicts by content: SQLite, safe for many processes at once."""

from __future__ import annotations

import json
import sqlite3
import threading
from dataclasses import asdict
from pathlib import Path

from sleepy.artifacts import Check, Diagnostic, Edit
from sleepy.errors import SandboxError


class VerdictCache:
    """Checks by key. A file that is not a verdict cache is refused and left as it was. Verdicts of earlier
    versions count no test blocks; they are good for everything else."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()
        try:
            self._db = sqlite3.connect(path, timeout=60, check_same_thread=False, isolation_level=None)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=NORMAL")
            self._db.execute("CREATE TABLE IF NOT EXISTS verdicts (key TEXT PRIMARY KEY, verdict TEXT NOT NULL)")
        except sqlite3.Error as error:
            raise SandboxError(
                f"the verdict cache {path} cannot be used ({error}). Move it away to start with a new one"
            ) from error

    def get(self, key: str) -> Check | None:
        """The verdict stored under `key`, if any."""
        with self._lock:
            row = self._db.execute("SELECT verdict FROM verdicts WHERE key = ?", (key,)).fetchone()
        if row is None:
            return None
        record = json.loads(row[0])
        diagnostics = tuple(
            Diagnostic(
                d["code"],
                d["message"],
                tuple((n, text) for n, text in d["labels"]),
                tuple(d["helps"]),
                d["rendered"],
                tuple(tuple(Edit(*edit) for edit in fix) for fix in d["fixes"]),
            )
            for d in record["diagnostics"]
        )
        return Check(record["stage"], record["detail"], diagnostics, blocks=record.get("blocks"))

    def put(self, key: str, check: Check) -> None:
        """Store a verdict; one that is there already stays."""
        with self._lock:
            self._db.execute("INSERT OR IGNORE INTO verdicts VALUES (?, ?)", (key, json.dumps(asdict(check))))

    def close(self) -> None:
        """Close the database."""
        self._db.close()
