"""`cargo check` in the sandbox: a copy of a user's project, one of whose files is being repaired."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import tomllib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Any

from sleepy.artifacts import Check, CheckJob, Diagnostic, digest_of, digest_of_file
from sleepy.errors import DataError
from sleepy.rust.diagnostics import diagnostic, errors, json_lines, used
from sleepy.sandbox.checker import Limits, Sandbox, Seen
from sleepy.sandbox.process import Finished
from sleepy.sandbox.rustc import toolchain
from sleepy.sandbox.verdict import check_machine, reason

_LONGER = 30  # times the limit of one program, for dependencies are built too
_LEFT_OUT = shutil.ignore_patterns("target", ".git", "node_modules")


class _TooSlow(DataError):
    """cargo was still at work at the wall-clock limit."""


class CargoProject:
    """A copy of a project that only the sandbox writes to. Nothing is fetched: what it depends on must be vendored, in
    its folder, or in cargo's registry already."""

    def __init__(self, sandbox: Sandbox, place: Path) -> None:
        self._sandbox, self._place = sandbox, place
        self.root = place / "project"
        self._registry = Path(os.environ.get("CARGO_HOME", "~/.cargo")).expanduser() / "registry"
        (place / "cargo").mkdir()
        (place / "cargo/registry").symlink_to(self._registry)

    def errors(self) -> dict[str, tuple[Diagnostic, ...]]:
        """The project's errors by file (its path in the project), in the order in which cargo reports them.

        Raises DataError when cargo cannot build the project at all, and SandboxError for a broken sandbox.
        """
        found: dict[str, list[Diagnostic]] = {}
        for record in self._messages():
            spans = [s for s in record["spans"] if s["is_primary"]] or record["spans"]
            name = used(spans[0], self._has)["file_name"] if spans else ""
            if not self._has(name):
                raise DataError(
                    f"cargo check reports an error outside of the project's own files:\n{record['rendered']}\n"
                    "Fix it by hand first"
                )
            item = diagnostic(record, name)
            if item not in found.setdefault(name, []):  # a library and its tests report the same
                found[name].append(item)
        return {name: tuple(items) for name, items in found.items()}

    def failing_tests(self) -> str:
        """What `cargo test` has against a project without errors; "" when its tests pass.

        Raises DataError when cargo cannot run them, and SandboxError for a broken sandbox.
        """
        built = self._cargo("test", "--no-run", "--message-format=json")
        if built.returncode:
            found = self._found(built, "cargo test --no-run")
            return f"its tests do not compile: {found[0]['message']}"
        ran = self._cargo("test", "--no-fail-fast")
        if ran.returncode == 0:
            return ""
        failed = re.findall(r"^test (.+) \.\.\. FAILED$", ran.stdout.decode(errors="replace"), re.MULTILINE)
        if failed:
            return f"cargo test: {', '.join(failed[:3])}{' and more' if len(failed) > 3 else ''} failed"
        return f"cargo test: {ran.stderr.decode(errors='replace').strip()[-500:] or reason(ran.returncode)}"

    def edition(self, name: str) -> str:
        """The edition of the package that a file belongs to, as its Cargo.toml or the workspace's has it."""
        folder = next(f for f in (self.root / name).parents if (f / "Cargo.toml").is_file())
        said, whole = (tomllib.loads((f / "Cargo.toml").read_text("utf-8")) for f in (folder, self.root))
        edition = said.get("package", {}).get("edition", "2015")
        return str(edition if isinstance(edition, str) else whole["workspace"]["package"]["edition"])

    def _has(self, name: str) -> bool:
        return not name.startswith("/") and (self.root / name).is_file()

    def _messages(self) -> list[dict[str, Any]]:
        return self._found(self._cargo("check", "--message-format=json"), "cargo check")

    def _cargo(self, *words: str) -> Finished:
        """How a command of cargo's ended, which may use its libraries, but not the network."""
        box = self._sandbox
        chain = toolchain()
        tools = [f"{name.upper()}={chain.tool(name)}" for name in ("rustc", "rustdoc")]
        variables = ["CARGO_HOME=/out/cargo", "CARGO_TARGET_DIR=/out/target", *tools]
        argv = ["/usr/bin/env", "-C", "/out/project", *variables, chain.tool("cargo"), *words, "--offline"]
        seconds = _LONGER * box.compile_cpu_seconds
        limits = Limits(seconds, 2 * box.compile_memory_mb, 512, 1024)
        command = box.command(argv, limits, Seen(writable=self._place, readable=self._registry))
        done = box.start(command, 64 << 20, b"", float(seconds))
        if done.ended in ("wall", "hung"):
            raise _TooSlow(f"cargo {words[0]} did not end within {seconds} s. Raise sandbox.compile_cpu_seconds")
        check_machine(done)
        return done

    @staticmethod
    def _found(done: Finished, command: str) -> list[dict[str, Any]]:
        """The errors in the code that a command reported. Raises DataError when it failed for another reason."""
        said = done.stderr.decode(errors="replace").strip()
        records = [r["message"] for r in json_lines(done.stdout) if r.get("reason") == "compiler-message"]
        found = list(errors(records))
        if done.returncode and not found:
            raise DataError(f"{command} --offline failed, but not for an error in the code:\n{said[-2000:]}")
        return found


class CargoChecker:
    """Judges a program as one file of a project. It passes when cargo has nothing against this file, and no more
    against the others than before; with `tests`, when cargo's tests pass, too, once no file has an error."""

    open_tests = True

    def __init__(
        self, project: CargoProject, name: str, known: dict[str, tuple[Diagnostic, ...]], tests: bool = False
    ) -> None:
        self._project, self._name, self._tests, self._lock = project, name, tests, Lock()
        self._others = sum(len(items) for file, items in known.items() if file != name)
        files = {p.relative_to(project.root).as_posix(): p for p in sorted(project.root.rglob("*")) if p.is_file()}
        state = {file: digest_of_file(path) for file, path in files.items() if file != name}
        self.identity = digest_of(["cargo", toolchain().version, name, state, tests])

    def check(self, program: str, tests: tuple[str, ...], edition: str, lint: str = "") -> Check:
        """What cargo says of the project with `program` as the file; the file stays as it was. The tests are the
        project's, and so is the edition."""
        with self._lock:  # there is one copy of the project
            return self._check(self._project.root / self._name, program)

    def _check(self, path: Path, program: str) -> Check:
        before = path.read_bytes()
        try:
            path.write_text(program, encoding="utf-8")
            found = self._project.errors()
            failing = self._project.failing_tests() if self._tests and not found else ""
        except DataError as error:  # cargo took the project as it was: it is this program that it cannot take
            return Check("compile", str(error), timed_out=isinstance(error, _TooSlow))
        finally:
            path.write_bytes(before)
        own = found.pop(self._name, ())
        if own:
            return Check("compile", own[0].message, own)
        if (others := [d for items in found.values() for d in items])[self._others :]:
            return Check("compile", f"now other files have errors: {others[-1].message}", tuple(others))
        return Check("test", failing) if failing else Check("passed", "compiles")

    def check_all(self, jobs: Sequence[CheckJob]) -> list[Check]:
        """`check` for each job, one after the other."""
        return [self.check(*job) for job in jobs]


@contextmanager
def copied(sandbox: Sandbox, folder: Path) -> Iterator[CargoProject]:
    """A project on a copy of `folder`, without what it was built to. Raises DataError for one without Cargo.toml."""
    if not (folder / "Cargo.toml").is_file():
        raise DataError(f"file: {folder} has no Cargo.toml. Name a cargo project or a .rs file")
    with tempfile.TemporaryDirectory(prefix="sleepy-") as closed:  # to other users
        place = Path(closed) / "out"
        shutil.copytree(folder, place / "project", ignore=_LEFT_OUT, symlinks=True)
        project = CargoProject(sandbox, place)
        for path in (place, *place.rglob("*")):
            if not path.is_symlink():
                _open_up(path)
        yield project


def _open_up(path: Path) -> None:
    """Let the sandbox write a file or folder of the copy. What may be executed stays so."""
    mode = path.stat().st_mode
    bits = 7 if path.is_dir() or mode & 0o100 else 6
    whose = 0o111 if os.geteuid() == 0 else 0o100  # as root the sandbox writes as nobody
    path.chmod(mode | bits * whose)
