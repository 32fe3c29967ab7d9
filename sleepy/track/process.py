"""Which process a run belongs to, and whether that process is still there."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping

HOST, PID, STARTED = "sleepy.host", "sleepy.pid", "sleepy.started"

# A process's age is known only as well as the clock, which may have been set since. Within a minute, a number is not
# given to a second process.
_CLOCK_SECONDS = 60.0


def this_process() -> dict[str, str]:
    """The tags that name this process: host, number, and time of its start in seconds since 1970."""
    import psutil

    return {HOST: socket.gethostname(), PID: str(os.getpid()), STARTED: f"{psutil.Process().create_time():.2f}"}


def is_alive(tags: Mapping[str, str]) -> bool:
    """Whether the process named by `tags`, one of this host, is still running; a zombie is not."""
    import psutil

    try:
        process = psutil.Process(int(tags[PID]))
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        return abs(process.create_time() - float(tags[STARTED])) < _CLOCK_SECONDS
    except psutil.AccessDenied:  # somebody's process has that number: give it the benefit of the doubt
        return True
    except (KeyError, ValueError, psutil.NoSuchProcess):
        return False
