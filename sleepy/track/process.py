"""Which process a run belongs to, and whether that process is still there."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Mapping
from pathlib import Path

HOST, PID, STARTED = "sleepy.host", "sleepy.pid", "sleepy.started"

# The system clock may have been set since the run began. No system gives a number to a second process within a minute.
_CLOCK_SECONDS = 60.0


def this_process() -> dict[str, str]:
    """The tags that name this process: host, number, start time in seconds since 1970, and what MLflow's UI shows."""
    import psutil

    process = psutil.Process()
    found = {HOST: socket.gethostname(), PID: str(os.getpid()), STARTED: f"{process.create_time():.2f}"}
    return found | {
        "mlflow.user": process.username(),
        "mlflow.source.name": Path(sys.argv[0]).name,
        "mlflow.source.type": "LOCAL",
    }


def is_alive(tags: Mapping[str, str]) -> bool:
    """Whether the process named by `tags` is still running; a zombie is not. True where nobody here can tell: the run
    has no such tags, or its process is on another host or hidden from this user."""
    import psutil

    if tags.get(HOST) != socket.gethostname():
        return True
    try:
        process = psutil.Process(int(tags[PID]))
        same = abs(process.create_time() - float(tags[STARTED])) < _CLOCK_SECONDS
        return same and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error as error:
        return isinstance(error, psutil.AccessDenied)
