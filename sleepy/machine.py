"""What the machine offers to this process."""

from __future__ import annotations

import os


def cores() -> int:
    """How many CPU cores this process may use, at least 1. In a container or under taskset, Linux allows fewer than the
    machine has; OMP_NUM_THREADS, which launchers set for jobs that run side by side, may allow fewer still."""
    there = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    asked = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0]  # a list says more of nested threads
    return min(there, int(asked)) if asked.isdecimal() and int(asked) else there
