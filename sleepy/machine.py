"""What the machine offers to this process."""

from __future__ import annotations

import os


def cores() -> int:
    """How many CPU cores this process may use, at least 1. In a container or under taskset, Linux allows fewer than the
    machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def threads() -> int:
    """How many threads a model may compute with: all cores, or OMP_NUM_THREADS if that is fewer. Launchers set it for
    jobs that run side by side."""
    asked = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0]  # a list says more of nested threads
    return min(cores(), int(asked)) if asked.isdecimal() and int(asked) else cores()
