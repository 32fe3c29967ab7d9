"""rustc, called directly: where it is, what it says, and the source that carries a koan's hidden tests."""

from __future__ import annotations

import functools
import os
import secrets
import subprocess
from dataclasses import dataclass
from pathlib import Path

from sleepy.errors import SandboxError

OLDEST = (1, 88)  # the first with let chains, which koans use
FLAGS = ("--error-format=json", "-Cdebuginfo=0", "--crate-name", "koan")


@dataclass(frozen=True)
class Toolchain:
    """A rustc with its sysroot. `version` is the whole of `rustc -vV`: it is part of every verdict's key."""

    sysroot: Path
    version: str

    def tool(self, name: str) -> str:
        """The path of one of its programs. Raises SandboxError if it is missing."""
        path = self.sysroot / "bin" / name
        if not path.is_file():
            package = name.removesuffix("-driver")
            raise SandboxError(f"{path} is missing. Run `rustup component add {package}` or `bash setup.sh`")
        return str(path)


@functools.cache
def toolchain() -> Toolchain:
    """The first rustc on PATH that answers and is new enough (a rustup shim without a toolchain is passed over).

    Raises SandboxError when there is none.
    """
    found = []
    for folder in os.get_exec_path():
        path = Path(folder) / "rustc"
        if not os.access(path, os.X_OK):
            continue
        try:
            sysroot = Path(_ask([str(path), "--print", "sysroot"]))
            version = _ask([str(sysroot / "bin" / "rustc"), "-vV"])
        except (SandboxError, OSError, subprocess.TimeoutExpired) as error:
            found.append(f"{path}: {error}")
            continue
        if tuple(int(part) for part in version.split()[1].split("-")[0].split(".")[:2]) >= OLDEST:
            return Toolchain(sysroot, version)
        found.append(f"{path}: {version.splitlines()[0]}, too old")
    raise SandboxError(
        "no rustc on PATH that is 1.88 or newer (the koans need it). Run `bash setup.sh`, or install one (rustup.rs)"
        + "".join(f"\n  {line}" for line in found)
    )


def _ask(argv: list[str]) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60)
    if done.returncode:
        raise SandboxError(f"`{' '.join(argv)}` failed: {done.stderr.strip() or done.returncode}")
    return done.stdout.strip()


def forbidding(lint: str) -> tuple[str, ...]:
    """The compiler that reports `lint`, rustc's or Clippy's, and the flags that make it an error which a program cannot
    allow. All other lints of Clippy are left out.

    Raises SandboxError when the lint is Clippy's and this toolchain has none.
    """
    chain = toolchain()
    if lint.startswith("clippy::"):
        return (chain.tool("clippy-driver"), "--sysroot", str(chain.sysroot), "-Aclippy::all", f"-F{lint}")
    return (chain.tool("rustc"), f"-F{lint}")


def with_tests(program: str, tests: tuple[str, ...]) -> tuple[str, str, list[str]]:
    """The program with its hidden tests at the end: (source, path of the test, the evidence it must print).

    After each block the harness prints a nonce of its own, drawn anew for every build and present only in the source
    that goes to rustc on stdin and in a binary that its own process may not read. So neither `exit(0)` nor printed
    text can look like a pass. Asserting macros are imported by path: a program that redefines one does not compile.
    """
    module, report = f"h{secrets.token_hex(8)}", f"r{secrets.token_hex(8)}"
    nonces = [secrets.token_hex(16) for _ in tests]
    blocks = "".join(
        f'        {{\n{block}\n        }}\n        {report}("{nonce}");\n'
        for block, nonce in zip(tests, nonces, strict=True)
    )
    harness = f"""
#[cfg(test)]
#[allow(warnings)]
mod {module} {{
    use super::*;
    use ::core::{{assert, assert_eq, assert_ne}};
    fn {report}(nonce: &str) {{
        let mut out = ::std::io::stdout();
        ::std::io::Write::write_all(&mut out, ::std::format!("\\n{{nonce}}\\n").as_bytes()).unwrap();
        ::std::io::Write::flush(&mut out).unwrap();
    }}
    #[test]
    fn hidden() {{
{blocks}    }}
}}
"""
    return program + "\n" + harness, f"{module}::hidden", nonces


def clean_environment() -> dict[str, str]:
    """The few variables that rustc and a koan's program need; nothing of the user's."""
    return {"PATH": os.defpath, "LANG": "C.UTF-8", "MALLOC_ARENA_MAX": "2", "RUST_BACKTRACE": "0"}
