"""bubblewrap: namespaces of its own for files, network, processes and users."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import zlib
from dataclasses import dataclass

from sleepy.errors import SandboxError
from sleepy.sandbox.checker import STARTED, Limits, Sandbox, Seen
from sleepy.sandbox.rustc import clean_environment, toolchain

# The limit on processes counts all of a user's, on the whole machine: as root each folder has a nobody of its own.
_NOBODIES, _FIRST_NOBODY = 20_000, 40_000
_NO_PRIVILEGES = ("--clear-groups", "--no-new-privs", "--inh-caps=-all", "--bounding-set=-all")


@dataclass(frozen=True, kw_only=True)
class Bwrap(Sandbox):
    """No network, no home, no /proc for the program, a read-only system, a private /tmp in memory, and limits.

    Not covered: the memory of all processes together (each has its own limit), a program that scans its own memory
    with `unsafe` for the evidence, and holes in the kernel.
    """

    def command(self, argv: list[str], limits: Limits, seen: Seen) -> list[str]:
        """See Sandbox.command. Raises SandboxError when bubblewrap is not installed."""
        root = os.geteuid() == 0
        box = [_bwrap(), *_namespaces(), *"--die-with-parent --new-session --cap-drop ALL".split()]
        if root:  # see _namespaces: setpriv needs these two to become nobody
            box += "--cap-add CAP_SETUID --cap-add CAP_SETGID".split()
        box += [*_system(), *f"--perms 1777 --size {limits.file_mb << 20} --tmpfs /tmp --chdir /tmp".split()]
        if seen.writable is not None:
            # rustc's linker looks for itself in /proc
            box += ["--bind", str(seen.writable), "/out", "--proc", "/proc"]
        if seen.program is not None:
            box += ["--ro-bind", str(seen.program), "/program"]
        if seen.readable is not None:
            for parent in reversed(seen.readable.parents[:-1]):  # bwrap itself would make them for root alone
                box += ["--perms", "0755", "--dir", str(parent)]
            # cargo opens /dev/null
            box += ["--ro-bind-try", str(seen.readable), str(seen.readable), "--dev", "/dev"]
        box += ["--remount-ro", "/"]
        if root:
            place = str(seen.writable or (seen.program and seen.program.parent))
            nobody = _FIRST_NOBODY + zlib.crc32(place.encode()) % _NOBODIES
            box += ["/usr/bin/setpriv", f"--reuid={nobody}", f"--regid={nobody}", *_NO_PRIVILEGES]
        set_limits = (
            f"/usr/bin/prlimit --cpu={limits.cpu_seconds}:{limits.cpu_seconds + 1} --as={limits.memory_mb << 20} "
            f"--nproc={limits.processes} --fsize={limits.file_mb << 20} --core=0 --nofile=256 --"
        )
        return [*box, *set_limits.split(), *STARTED, *(_inside(part) for part in argv)]

    def environment(self) -> dict[str, str]:
        """See Sandbox.environment; without /proc the loader cannot find rustc's libraries by itself."""
        return {**clean_environment(), "LD_LIBRARY_PATH": _inside(str(toolchain().sysroot / "lib")), "TMPDIR": "/tmp"}


@functools.cache
def _bwrap() -> str:
    found = shutil.which("bwrap")
    if found is None:
        raise SandboxError(
            "no bwrap on PATH. Run `bash setup.sh`, install the package bubblewrap, or choose "
            "sandbox=rlimit (which covers less)"
        )
    return found


@functools.cache
def _namespaces() -> list[str]:
    """As root no user namespace: there the kernel exempts root's processes from the limit on their number, so the
    program becomes nobody instead (see `command`). Anybody else gets a user namespace, and none inside of it."""
    if os.geteuid() == 0:
        return ["--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts", "--unshare-cgroup-try"]
    help_text = subprocess.run([_bwrap(), "--help"], capture_output=True, text=True).stdout
    return ["--unshare-all", "--unshare-user"] + (["--disable-userns"] if "--disable-userns" in help_text else [])


@functools.cache
def _system() -> list[str]:
    """The mounts that rustc and its linker need, read-only."""
    mounts = ["--ro-bind", "/usr", "/usr"]
    for name in ("/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"):
        if os.path.islink(name):
            mounts += ["--symlink", os.readlink(name), name]
        elif os.path.isdir(name):
            mounts += ["--ro-bind", name, name]
    mounts += ["--dir", "/etc", "--ro-bind-try", "/etc/alternatives", "/etc/alternatives"]
    if not _in_usr():
        mounts += ["--ro-bind", str(toolchain().sysroot), "/toolchain"]
    return mounts


def _in_usr() -> bool:
    return toolchain().sysroot.is_relative_to("/usr")


def _inside(path: str) -> str:
    """A path of the toolchain, or a word with one, as the sandbox sees it."""
    return path if _in_usr() else path.replace(str(toolchain().sysroot), "/toolchain")
