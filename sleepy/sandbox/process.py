"""One command, run to its end or to one of its limits."""

from __future__ import annotations

import contextlib
import math
import os
import selectors
import signal
import subprocess
import threading
import time
from dataclasses import dataclass

from sleepy.errors import SandboxError

# A command whose CPU time is below this share of the wall-clock limit was waiting, not working: a busy machine gives it
# more, unless over fifty others want the same core. Starting a sandbox takes 5 ms of CPU time.
_WORKING = 0.02


@dataclass(frozen=True)
class Finished:
    """How a command ended. `ended` is "exit", "output" (more output than allowed), or at the wall-clock limit "wall"
    (it was working) or "hung" (it used next to no CPU time, as in a deadlock).

    `returncode` is as a shell gives it: 128 + signal where a signal ended the command.
    """

    returncode: int
    stdout: bytes
    stderr: bytes
    ended: str


def run_limited(
    argv: list[str], *, stdin: bytes = b"", env: dict[str, str] | None = None, wall_seconds: float, output_bytes: int
) -> Finished:
    """Run `argv` in a process group of its own; the whole group is killed at the wall-clock or the output limit.

    Raises SandboxError when the command cannot be started at all.
    """
    try:
        process = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env, start_new_session=True
        )
    except OSError as error:
        raise SandboxError(f"cannot start {argv[0]}: {error}") from error
    # A pipe, not a file: what was read from it cannot be read again through /proc/self/fd/0.
    feeder = threading.Thread(target=_feed, args=(process, stdin), daemon=True)
    feeder.start()
    try:
        chunks, ended = _collect(process, wall_seconds, output_bytes)
        if ended == "wall" and _cpu_seconds(process.pid) < _WORKING * wall_seconds:
            ended = "hung"
    finally:
        _kill_group(process)
    code = process.wait()
    return Finished(128 - code if code < 0 else code, chunks["stdout"], chunks["stderr"], ended)


def _feed(process: subprocess.Popen[bytes], stdin: bytes) -> None:
    assert process.stdin
    with contextlib.suppress(BrokenPipeError), process.stdin:
        process.stdin.write(stdin)


def _collect(process: subprocess.Popen[bytes], wall_seconds: float, output_bytes: int) -> tuple[dict[str, bytes], str]:
    """Read both pipes until they close and the process ends, or a limit is reached."""
    deadline = time.monotonic() + wall_seconds
    chunks = {"stdout": bytearray(), "stderr": bytearray()}
    ended = "exit"
    with selectors.DefaultSelector() as selector:
        for name in chunks:
            selector.register(getattr(process, name), selectors.EVENT_READ, name)
        while ended == "exit" and selector.get_map():
            for key, _ in selector.select(max(0.0, deadline - time.monotonic())):
                data = os.read(key.fd, 65536)
                if not data:
                    selector.unregister(key.fileobj)
                chunks[key.data] += data
            if sum(map(len, chunks.values())) > output_bytes:
                ended = "output"
            elif selector.get_map() and time.monotonic() >= deadline:
                ended = "wall"
    if ended == "exit":
        try:
            process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            ended = "wall"
    return {name: bytes(data) for name, data in chunks.items()}, ended


def _cpu_seconds(pid: int) -> float:
    """CPU time that a running process and its descendants have used, those that ended included; infinite where the
    system does not tell. A sandbox's own process uses none: what counts is below it."""
    import psutil

    try:
        root = psutil.Process(pid)
        return sum(sum(one.cpu_times()[:4]) for one in (root, *root.children(recursive=True)))
    except psutil.Error:
        return math.inf


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    """End whatever the command left behind in its group, and close the pipes."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    for pipe in (process.stdout, process.stderr):
        assert pipe
        pipe.close()
