"""What every sandbox does: build a program, run its hidden tests, and say where it ended."""

from __future__ import annotations

import functools
import os
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Protocol

from sleepy.artifacts import Check, ToCheck, digest_of
from sleepy.errors import SandboxError
from sleepy.options import ranged
from sleepy.rust.diagnostics import json_lines, parse_diagnostics
from sleepy.sandbox.cache import VerdictCache
from sleepy.sandbox.process import Finished, run_limited
from sleepy.sandbox.rustc import FLAGS, clippy, toolchain, with_tests

_CHECK_VERSION = 2  # raise it when the meaning of a verdict changes
# Said on stderr when all limits are set and the command itself takes over: what follows is the command's own.
STARTED = ("/bin/sh", "-c", 'echo started >&2; exec "$@"', "sh")
_KILLED = 128 + 9
_SIGNALS = {
    4: "illegal instruction",
    6: "abort",
    9: "CPU time or memory used up",
    11: "stack overflow or bad memory access",
    24: "CPU time used up",
    25: "file too large",
}


@dataclass(frozen=True)
class Limits:
    """What one process may use: CPU seconds, address space in MiB, processes, and MiB a file."""

    cpu_seconds: int
    memory_mb: int
    processes: int
    file_mb: int


@dataclass(frozen=True, kw_only=True)
class Sandbox(ABC):
    """Limits shared by all sandboxes.

    compile_cpu_seconds: CPU time of rustc for one program, in seconds (1 to 600).
    compile_memory_mb: address space of rustc, in MiB (at least 64).
    run_cpu_seconds: CPU time of the program under test, in seconds (1 to 600).
    run_memory_mb: address space of the program under test, in MiB (at least 64).
    processes: processes and threads the program under test may have (1 to 4096).
    file_mb: size of a file it may write, in MiB (at least 1).
    output_kb: output read before it is ended, in KiB (at least 16).
    """

    compile_cpu_seconds: int = ranged(10, at_least=1, at_most=600)
    compile_memory_mb: int = ranged(4096, at_least=64)
    run_cpu_seconds: int = ranged(2, at_least=1, at_most=600)
    run_memory_mb: int = ranged(1024, at_least=64)
    processes: int = ranged(64, at_least=1, at_most=4096)
    file_mb: int = ranged(64, at_least=1)
    output_kb: int = ranged(256, at_least=16)

    @abstractmethod
    def command(
        self,
        argv: list[str],
        limits: Limits,
        *,
        writable: Path | None = None,
        program: Path | None = None,
        readable: Path | None = None,
    ) -> list[str]:
        """`argv` wrapped so that it runs isolated: `writable` is a folder it may write, seen as /out; `program` is the
        one file it may execute but not read, seen as /program; `readable` is a folder that it sees where it is."""

    @abstractmethod
    def environment(self) -> dict[str, str]:
        """Environment of everything that runs inside."""

    def start(self, argv: list[str], output_bytes: int, stdin: bytes, wall_seconds: float) -> Finished:
        """Run what `command` gave. Raises SandboxError when the sandbox does not start."""
        done = run_limited(
            argv, stdin=stdin, env=self.environment(), wall_seconds=wall_seconds, output_bytes=output_bytes
        )
        before, started, said = done.stderr.partition(b"started\n")
        if not started and done.ended == "exit":
            why = before.decode(errors="replace").strip() or _reason(done.returncode)
            raise SandboxError(f"the sandbox does not start: {why}")
        return replace(done, stderr=said)

    @functools.cached_property
    def _compiler(self) -> str:
        return str(toolchain().sysroot / "bin" / "rustc")

    def open(self, cache: Path) -> Checker:
        """A checker with its verdict cache in the folder `cache`. Raises SandboxError when the sandbox or the compiler
        do not work: a program that must pass is checked first."""
        checker = Checker(self, VerdictCache(cache / "verdicts.sqlite"))
        proof = checker.build_and_run("pub fn answer() -> u32 { 42 }", ("assert_eq!(answer(), 42);",), "2021")
        if not proof.passed:
            detail = "\n".join(d.rendered for d in proof.diagnostics) or proof.detail
            raise SandboxError(f"a program that must pass does not pass in {type(self).__name__}: {detail}")
        return checker


class Judge(Protocol):
    """What gives a verdict on a program; equal identities give equal verdicts."""

    identity: str

    def check(self, program: str, tests: tuple[str, ...], edition: str, lint: str = "") -> Check:
        """The verdict on one program, see Checker.check."""
        ...

    def check_all(self, jobs: Sequence[ToCheck]) -> list[Check]:
        """The verdict on each, in order."""
        ...


class Checker:
    """Checks programs in one sandbox, in parallel, each verdict once."""

    def __init__(self, sandbox: Sandbox, cache: VerdictCache) -> None:
        self.sandbox = sandbox
        self.cache = cache
        self.identity = digest_of([_CHECK_VERSION, type(sandbox).__name__, asdict(sandbox), FLAGS, toolchain().version])

    def check(self, program: str, tests: tuple[str, ...], edition: str, lint: str = "") -> Check:
        """Compile `program` as a library crate (a `main` is allowed and ignored), then build and run its tests.

        Without tests a program that compiles has passed. A `lint` of Clippy counts as an error of the compiler.
        Verdicts that hang on the machine's load are not cached.
        """
        known = self.known((program, tests, edition, lint))
        if known is not None:
            return known
        check = self.build_and_run(program, tests, edition, lint)
        self.learn((program, tests, edition, lint), check)
        return check

    def known(self, job: ToCheck) -> Check | None:
        """The cached verdict on a job, if any."""
        return self.cache.get(self._key(job))

    def learn(self, job: ToCheck, check: Check) -> None:
        """Cache a verdict, unless it hangs on the machine's load."""
        if not by_load(check):
            self.cache.put(self._key(job), check)

    def _key(self, job: ToCheck) -> str:
        return digest_of([self.identity, *(job if job[3] else job[:3])])

    def check_all(self, jobs: Sequence[ToCheck], done: Callable[[], object] = lambda: None) -> list[Check]:
        """`check` for each (program, tests, edition, lint), on all cores, in order; `done` is called after each."""

        def one(job: ToCheck) -> Check:
            result = self.check(*job)
            done()
            return result

        with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            return list(pool.map(one, jobs))

    def build_and_run(self, program: str, tests: tuple[str, ...], edition: str, lint: str = "") -> Check:
        """`check` without the cache."""
        with self.scratch() as folder:
            failed = self._compile(program, edition, folder, lint)
            if failed or not tests:
                return failed or Check("passed", "compiles; it has no tests")
            source, path, nonces = with_tests(program, tests)
            failed = self.build(source, edition, folder)
            return failed or self.run(folder / "koan", path, nonces)

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """A folder for the compiler's output."""
        with tempfile.TemporaryDirectory(prefix="sleepy-") as name:
            folder = Path(name)
            folder.chmod(0o777)  # as root the sandbox writes as nobody
            yield folder

    def _compile(self, program: str, edition: str, folder: Path, lint: str) -> Check | None:
        """The verdict on a program that does not compile, or None. No code is generated."""
        compiler = clippy(lint) if lint else (self.sandbox._compiler,)
        argv = [*compiler, "--crate-type=lib", "--emit=metadata", "-o", "/out/koan.rmeta"]
        return self._failed("compile", self._rustc(argv, edition, program, folder))

    def build(self, source: str, edition: str, folder: Path) -> Check | None:
        """Make the executable /koan in `folder` from a source with its tests; a verdict when that fails, else None."""
        argv = [self.sandbox._compiler, "--test", "-o", "/out/koan"]
        failed = self._failed("test", self._rustc(argv, edition, source, folder))
        if failed is None:
            (folder / "koan").chmod(0o111)
        return failed

    def _rustc(self, argv: list[str], edition: str, source: str, folder: Path) -> Finished:
        box = self.sandbox
        limits = Limits(box.compile_cpu_seconds, box.compile_memory_mb, 256, 512)
        argv = [*argv, "--edition", edition, *FLAGS, "-"]
        done = box.start(
            box.command(argv, limits, writable=folder), 8 << 20, source.encode(), 10.0 * box.compile_cpu_seconds
        )
        if done.returncode and done.ended == "exit":
            check_machine(done)
        return done

    def run(self, binary: Path, path: str, nonces: list[str]) -> Check:
        """The verdict of the test `path` in a built executable."""
        box = self.sandbox
        limits = Limits(box.run_cpu_seconds, box.run_memory_mb, box.processes, box.file_mb)
        argv = ["/program", "--exact", path, "--nocapture", "--test-threads=1"]
        done = box.start(
            box.command(argv, limits, program=binary), box.output_kb << 10, b"", 10.0 * box.run_cpu_seconds
        )
        return self._judge(done, nonces)

    def _failed(self, stage: str, done: Finished) -> Check | None:
        """The check of a program that did not build, or None."""
        if done.ended == "wall":
            return Check(stage, "wall clock: rustc did not end in time")
        if done.ended == "output":
            return Check(stage, "rustc printed more than 8 MiB")
        if done.returncode == 0:
            return None
        diagnostics = parse_diagnostics(done.stderr)
        if diagnostics:
            return Check(stage, diagnostics[0].message, diagnostics)
        return Check(stage, f"rustc ended without a message: {_reason(done.returncode)}")

    def _judge(self, done: Finished, nonces: list[str]) -> Check:
        """Passed only with every block's nonce on a line of its own, in order, and exit code 0."""
        if done.ended == "wall":
            return Check("test", "wall clock: the tests did not end in time")
        if done.ended == "output":
            return Check("test", f"printed more than {self.sandbox.output_kb} KiB")
        lines = done.stdout.decode(errors="replace").splitlines()
        seen = [line for line in lines if line in nonces]
        if seen == nonces and done.returncode == 0:
            return Check("passed", f"{len(nonces)} test blocks passed")
        panics = [line for line in done.stderr.decode(errors="replace").splitlines() if line.strip()]
        why = _reason(done.returncode) if done.returncode > 128 else " ".join(panics[-4:])[:500]
        return Check("test", f"{len(seen)} of {len(nonces)} test blocks passed; {why or 'it ended early'}")


def by_load(check: Check) -> bool:
    """Whether it may be the machine's load that spoke, and not the program."""
    return not check.passed and ("wall clock" in check.detail or "signal 9" in check.detail)


def check_machine(done: Finished) -> None:
    """Raises SandboxError where rustc failed for the machine's sake. What a program makes rustc say has a place in the
    program; what the machine lacks has none."""
    said = b"\n".join(line for line in done.stderr.splitlines() if not line.startswith(b"{")).decode(errors="replace")
    said += "\n".join(r["message"] for r in json_lines(done.stderr) if not r.get("spans") and "message" in r)
    for sign, problem in (
        ("No space left on device", "no disk space left for the compiler's output. Free some"),
        ("Resource temporarily unavailable", "the machine has no room for rustc's threads. End something"),
    ):
        if sign in said:
            raise SandboxError(f"{problem} and run the same command again")
    if done.returncode == _KILLED:  # beyond its own limits rustc ends by another signal
        raise SandboxError("rustc was killed: the machine may be out of memory. End something and try again")


def _reason(code: int) -> str:
    if code > 128:
        return f"signal {code - 128} ({_SIGNALS.get(code - 128, 'killed')})"
    return f"exit code {code}"
