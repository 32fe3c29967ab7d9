"""pip as a carrier of files: run in a process of its own, its temporary files on the disk we checked for room."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from sleepy.errors import ModelError


def run_pip(arguments: list[str], scratch: Path, progress: Callable[[int], None] | None = None) -> None:
    """Run `pip ARGUMENTS` with `scratch` as its temporary folder; raise ModelError with pip's reason if it fails.

    `progress` is told the bytes that have arrived, a few times a second.
    """
    command = [
        sys.executable,
        "-m",
        "pip",
        *arguments,
        "--quiet",
        "--no-input",
        "--no-cache-dir",
        "--disable-pip-version-check",
    ]
    with (
        tempfile.TemporaryFile("w+", dir=scratch) as output,
        subprocess.Popen(command, stdout=output, stderr=output, env={**os.environ, "TMPDIR": str(scratch)}) as pip,
    ):
        try:
            while pip.poll() is None:
                time.sleep(0.1)
                if progress:
                    progress(_largest_file(scratch))
        finally:
            pip.kill()
        if pip.returncode:
            output.seek(0)
            lines = output.read().strip().splitlines()
            reason = next((line for line in reversed(lines) if "ERROR" in line), lines[-1] if lines else "no message")
            raise ModelError(f"pip {arguments[0]} ended with {pip.returncode}: {reason}")


def _largest_file(folder: Path) -> int:
    """Bytes of the largest file below `folder`: the download, whether pip has moved it to its place yet or not."""
    largest = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(FileNotFoundError):  # pip tidies up while we look
                largest = max(largest, os.stat(os.path.join(parent, name)).st_size)
    return largest
