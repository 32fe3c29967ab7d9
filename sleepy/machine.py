"""What the machine offers to this process."""

from __future__ import annotations

import os


def cores() -> int:
    """How many CPU cores this process may use, at least 1. In a container or under taskset, Linux allows fewer than the
    machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
