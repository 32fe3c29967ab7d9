"""What every sandbox does: build a program, run its hidden tests, and say where it ended. What it ran is judged by
`verdict`."""

from __future__ import annotations

import os
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Protocol

from sleepy.artifacts import Check, CheckJob, digest_of
from sleepy.errors import SandboxError
from sleepy.machine import cores
from sleepy.options import ranged
from sleepy.sandbox.cache import VerdictCache
from sleepy.sandbox.process import Finished, run_limited
from sleepy.sandbox.rustc import FLAGS, forbidding, toolchain, with_tests
from sleepy.sandbox.verdict import check_machine, of_build, of_run, reason

_CHECK_VERSION = 5  # raise it when the meaning of a verdict changes
WALL = 10.0  # seconds of wall clock for one of CPU time: so busy may a machine be before it fails a program
# Said on stderr when all limits are set and the command itself takes over: what follows is the command's own.
STARTED = ("/bin/sh", "-c", 'echo started >&2; exec "$@"', "sh")


@dataclass(frozen=True)
class Limits:
    """What one process may use: CPU seconds, address space in MiB, processes, and MiB a file."""

    cpu_seconds: int
    memory_mb: int
    processes: int
    file_mb: int


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What a command sees of the machine: `writable` is a folder it may write, seen as /out; `program` is the one file
    it may execute but not read, seen as /program; `readable` is a folder that it sees where it is."""

    writable: Path | None = None
    program: Path | None = None
    readable: Path | None = None


@dataclass(frozen=True, kw_only=True)
class Sandbox(ABC):
    """Limits shared by all sandboxes.

    compile_cpu_seconds: CPU time of rustc for one program, in seconds (1 to 600).
    compile_memory_mb: address space of rustc, in MiB (at least 64).
    run_cpu_seconds: CPU time of the program under test, in seconds (1 to 600).
    run_memory_mb: address space of the program under test, in MiB (at least 64).
    processes: number of processes and threads that the program under test may have (1 to 4096).
    file_mb: size of a file that it may write, in MiB (at least 1).
    output_kb: output in KiB after which the program is ended (at least 16).
    """

    compile_cpu_seconds: int = ranged(10, at_least=1, at_most=600)
    compile_memory_mb: int = ranged(4096, at_least=64)
    run_cpu_seconds: int = ranged(2, at_least=1, at_most=600)
    run_memory_mb: int = ranged(1024, at_least=64)
    processes: int = ranged(64, at_least=1, at_most=4096)
    file_mb: int = ranged(64, at_least=1)
    output_kb: int = ranged(256, at_least=16)

    @abstractmethod
    def command(self, argv: list[str], limits: Limits, seen: Seen) -> list[str]:
        """`argv` wrapped so that it runs isolated."""

    @abstractmethod
    def environment(self) -> dict[str, str]:
        """Environment of everything that runs inside."""

    def start(self, argv: list[str], output_bytes: int, stdin: bytes, wall_seconds: float) -> Finished:
        """Run what `command` gave. Raises SandboxError if the sandbox does not start."""
        done = run_limited(
            argv, stdin=stdin, env=self.environment(), wall_seconds=wall_seconds, output_bytes=output_bytes
        )
        before, started, said = done.stderr.partition(b"started\n")
        if not started:
            why = reason(done.returncode) if done.ended == "exit" else f"it needs more than {wall_seconds:g} s"
            why = before.decode(errors="replace").strip() or why
            raise SandboxError(f"the sandbox does not start: {why}")
        return replace(done, stderr=said)

    def open(self, cache: Path) -> Checker:
        """A checker with its verdict cache in the folder `cache`. Raises SandboxError when the sandbox or the compiler
        do not work: a program that must pass is checked first."""
        checker = Checker(self, VerdictCache(cache / "verdicts.sqlite"))
        proof = checker.build_and_run(CheckJob("pub fn answer() -> u32 { 42 }", ("assert_eq!(answer(), 42);",), "2021"))
        if not proof.passed:
            detail = "\n".join(d.rendered for d in proof.diagnostics) or proof.detail
            raise SandboxError(f"a program that must pass does not pass in {type(self).__name__}: {detail}")
        return checker


class Judge(Protocol):
    """What gives a verdict on a program; equal identities give equal verdicts.

    open_tests: whether who asks a model may see what the tests say: they are the user's own, and no exam's.
    """

    identity: str
    open_tests: bool

    def check(self, program: str, tests: tuple[str, ...], edition: str, lint: str = "") -> Check:
        """The verdict on one program, see Checker.check."""
        ...

    def check_all(self, jobs: Sequence[CheckJob]) -> list[Check]:
        """The verdict on each, in order."""
        ...


class Checker:
    """Checks programs in one sandbox, in parallel, each verdict once."""

    open_tests = False

    def __init__(self, sandbox: Sandbox, cache: VerdictCache) -> None:
        self.sandbox = sandbox
        self.cache = cache
        self.identity = digest_of([_CHECK_VERSION, type(sandbox).__name__, asdict(sandbox), FLAGS, toolchain().version])

    def check(self, program: str, tests: tuple[str, ...], edition: str, lint: str = "") -> Check:
        """Compile `program` as a library crate (a `main` is allowed and ignored), then build and run its tests.

        Without tests a program that compiles has passed. A `lint` of rustc or Clippy counts as an error.
        Verdicts that hang on the machine's load are not cached.
        """
        job = CheckJob(program, tests, edition, lint)
        check = self.known(job)
        if check is None:
            check = self.build_and_run(job)
            self.learn(job, check)
        return check

    def known(self, job: CheckJob) -> Check | None:
        """The cached verdict on a job, if any."""
        return self.cache.get(self._key(job))

    def learn(self, job: CheckJob, check: Check) -> None:
        """Cache a verdict, unless it hangs on the machine's load."""
        if not check.by_load:
            self.cache.put(self._key(job), check)

    def _key(self, job: CheckJob) -> str:
        return digest_of([self.identity, *job])

    def check_all(self, jobs: Sequence[CheckJob], done: Callable[[], object] = lambda: None) -> list[Check]:
        """`check` for each job, on all cores, in order; `done` is called after each."""

        def one(job: CheckJob) -> Check:
            result = self.check(*job)
            done()
            return result

        with ThreadPoolExecutor(cores()) as pool:
            return list(pool.map(one, jobs))

    def build_and_run(self, job: CheckJob) -> Check:
        """`check` without the cache."""
        with self.scratch() as folder:
            failed = self._compile(job, folder)
            if failed or not job.tests:
                return failed or Check("passed", "compiles; it has no tests")
            source, path, nonces = with_tests(job.program, job.tests)
            failed = self.build(source, job.edition, folder)
            return failed or self.run(folder / "koan", path, nonces)

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """A folder for the compiler's output, inside of one that is closed to other users."""
        with tempfile.TemporaryDirectory(prefix="sleepy-") as closed:
            folder = Path(closed) / "out"
            folder.mkdir()
            if os.geteuid() == 0:  # as root the sandbox writes as nobody
                folder.chmod(0o777)
            yield folder

    def _compile(self, job: CheckJob, folder: Path) -> Check | None:
        """The verdict on a program that does not compile, or None. No code is generated."""
        compiler = forbidding(job.lint) if job.lint else (toolchain().tool("rustc"),)
        argv = [*compiler, "--crate-type=lib", "--emit=metadata", "-o", "/out/koan.rmeta"]
        return of_build("compile", self._rustc(argv, job.edition, job.program, folder))

    def build(self, source: str, edition: str, folder: Path) -> Check | None:
        """Make the executable /koan in `folder` from a source with its tests; a verdict if that fails, else None."""
        argv = [toolchain().tool("rustc"), "--test", "-o", "/out/koan"]
        failed = of_build("test", self._rustc(argv, edition, source, folder))
        if failed is None:
            (folder / "koan").chmod(0o111)
        return failed

    def _rustc(self, argv: list[str], edition: str, source: str, folder: Path) -> Finished:
        box = self.sandbox
        limits = Limits(box.compile_cpu_seconds, box.compile_memory_mb, 256, 512)
        command = box.command([*argv, "--edition", edition, *FLAGS, "-"], limits, Seen(writable=folder))
        done = box.start(command, 8 << 20, source.encode(), WALL * box.compile_cpu_seconds)
        check_machine(done)
        return done

    def run(self, binary: Path, path: str, nonces: list[str]) -> Check:
        """The verdict of the test `path` in a built executable."""
        box = self.sandbox
        limits = Limits(box.run_cpu_seconds, box.run_memory_mb, box.processes, box.file_mb)
        argv = ["/program", "--exact", path, "--nocapture", "--test-threads=1"]
        command = box.command(argv, limits, Seen(program=binary))
        return of_run(box.start(command, box.output_kb << 10, b"", WALL * box.run_cpu_seconds), nonces)
