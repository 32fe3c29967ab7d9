"""rustc, called directly: where it is, what it says, and the source that carries a koan's hidden tests."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import secrets
import subprocess
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sleepy.artifacts import Diagnostic
from sleepy.errors import SandboxError

OLDEST = (1, 85)  # the first with edition 2024
FLAGS = ("--error-format=json", "-Cdebuginfo=0", "--crate-name", "koan")
STDIN, SHOWN_AS = "<anon>", "main.rs"  # what rustc calls a program that came on stdin, and what we call it


@dataclass(frozen=True)
class Toolchain:
    """A rustc with its sysroot. `version` is the whole of `rustc -vV`: it is part of every verdict's key."""

    sysroot: Path
    version: str


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
        except (SandboxError, OSError) as error:
            found.append(f"{path}: {error}")
            continue
        if tuple(int(part) for part in version.split()[1].split("-")[0].split(".")[:2]) >= OLDEST:
            return Toolchain(sysroot, version)
        found.append(f"{path}: {version.splitlines()[0]}, too old")
    raise SandboxError(
        "no rustc on PATH that is 1.85 or newer (edition 2024). Run `bash setup.sh`, or install one (rustup.rs)"
        + "".join(f"\n  {line}" for line in found)
    )


def _ask(argv: list[str]) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60)
    if done.returncode:
        raise SandboxError(f"`{' '.join(argv)}` failed: {done.stderr.strip() or done.returncode}")
    return done.stdout.strip()


def clippy(lint: str) -> tuple[str, ...]:
    """The compiler that reports `lint`, and the flags that make it an error and leave all other lints of Clippy out.

    Raises SandboxError when this toolchain has no Clippy.
    """
    driver = toolchain().sysroot / "bin" / "clippy-driver"
    if not driver.is_file():
        raise SandboxError(
            f"{driver} is missing, and pairs about {lint} need it. Run `rustup component add clippy` or `bash setup.sh`"
        )
    return (str(driver), "--sysroot", str(toolchain().sysroot), "-Aclippy::all", f"-D{lint}")


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


def parse_diagnostics(stderr: bytes) -> tuple[Diagnostic, ...]:
    """The errors (not warnings) among rustc's JSON lines, in order, without the closing summary."""
    return tuple(diagnostic(record) for record in errors(json_lines(stderr)))


def json_lines(output: bytes) -> Iterator[dict[str, Any]]:
    """The JSON objects among lines of output; one that was cut off, where a process was killed, is left out."""
    for line in output.splitlines():
        if line.startswith(b"{"):
            with contextlib.suppress(json.JSONDecodeError):
                yield json.loads(line)


def errors(records: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Those of rustc's messages that are errors and no summary."""
    for record in records:
        if record.get("level", "").startswith("error") and not record["message"].startswith("aborting due to"):
            yield record


def used(span: dict[str, Any], own: Callable[[str], bool]) -> dict[str, Any]:
    """The span itself, or for one inside a macro of elsewhere the place of its use in a file that is `own`."""
    while span.get("expansion") and not own(span["file_name"]):
        span = span["expansion"]["span"]
    return span


def diagnostic(record: dict[str, Any], source: str = STDIN) -> Diagnostic:
    """One of rustc's messages about the file that rustc calls `source`."""
    labels = []
    for span in sorted(record["spans"], key=lambda s: not s["is_primary"]):
        span = {**used(span, lambda name: name == source), "label": span["label"], "is_primary": span["is_primary"]}
        if span["file_name"] == source and (span["label"] or span["is_primary"]):
            labels.append((span["line_start"], span["label"] or ""))
    helps = tuple(_help(child, source) for child in record["children"] if child["level"] == "help")
    rendered = (record["rendered"] or "").replace(STDIN, SHOWN_AS)
    code = (record["code"] or {}).get("code", "")
    return Diagnostic(code, record["message"], tuple(dict.fromkeys(labels)), helps, rendered)


def _help(child: dict[str, Any], source: str) -> str:
    """A help's message, with each line as rustc suggests to write it."""
    lines: dict[int, str] = {}
    for span in sorted(
        child["spans"], key=lambda s: (s["line_start"], -s["column_start"])
    ):  # from the right: places stay
        new = span["suggested_replacement"]
        if new is None or span["file_name"] != source or span["line_start"] != span["line_end"] or not span["text"]:
            continue
        number = span["line_start"]
        line = lines.get(number, span["text"][0]["text"])
        lines[number] = line[: span["column_start"] - 1] + new + line[span["column_end"] - 1 :]
    return child["message"] + "".join(f"\n    line {n}: `{line.strip()}`" for n, line in sorted(lines.items()))


def clean_environment() -> dict[str, str]:
    """The few variables that rustc and a koan's program need; nothing of the user's."""
    return {"PATH": os.defpath, "LANG": "C.UTF-8", "MALLOC_ARENA_MAX": "2", "RUST_BACKTRACE": "0"}
