"""Limits alone, where bubblewrap cannot run (a Mac, some containers)."""

from __future__ import annotations

import sys
import warnings
from dataclasses import dataclass
from pathlib import Path

from sleepy.sandbox.checker import STARTED, Checker, Limits, Sandbox, Seen
from sleepy.sandbox.rustc import clean_environment

NOT_COVERED = (
    "sandbox=rlimit limits CPU time, memory, processes and file size of each process, but the program sees "
    "your files and the network, may write wherever you may, and can read its own binary. Use it only for "
    "models and koans you trust; sandbox=bwrap isolates."
)


@dataclass(frozen=True, kw_only=True)
class Rlimit(Sandbox):
    """Limits on CPU time, memory, processes, file size and output; no isolation from files or network.

    The limit on processes counts everything that you run; processes of root are not limited in number. macOS does not
    enforce the limit on memory.
    """

    def open(self, cache: Path) -> Checker:
        """See Sandbox.open; warns of what is not covered."""
        warnings.warn(NOT_COVERED, stacklevel=2)
        return super().open(cache)

    def command(self, argv: list[str], limits: Limits, seen: Seen) -> list[str]:
        """See Sandbox.command: bash sets the limits and becomes the command."""
        inside = {"/program": str(seen.program)}
        real = [inside.get(part, part.replace("/out/", f"{seen.writable}/")) for part in argv]
        memory = f"ulimit -v {limits.memory_mb << 10};" if sys.platform != "darwin" else ""
        seconds = limits.cpu_seconds
        script = (  # at the soft limit the system says that it is CPU time (SIGXCPU), at the hard one it just kills
            f"ulimit -c 0; ulimit -S -t {seconds}; ulimit -H -t {seconds + 1}; {memory} ulimit -u {limits.processes};"
            f' ulimit -f {limits.file_mb << 10}; cd /tmp; exec "$@"'
        )
        return ["/bin/bash", "-c", script, "bash", *STARTED, *real]

    def environment(self) -> dict[str, str]:
        """See Sandbox.environment."""
        return clean_environment()
