"""From how rustc or a test ended to a verdict. What a program prints decides nothing but whether its tests passed."""

from __future__ import annotations

from sleepy.artifacts import Check
from sleepy.errors import SandboxError
from sleepy.rust.diagnostics import json_lines, parse_diagnostics
from sleepy.sandbox.process import Finished

_KILLED = 128 + 9
_SIGNALS = {
    4: "illegal instruction",
    6: "abort",
    9: "killed from outside: the machine may be out of memory",
    11: "stack overflow or bad memory access",
    24: "CPU time used up",
    25: "file too large",
}


def of_build(stage: str, done: Finished) -> Check | None:
    """The verdict on a program that rustc did not build, or None. Nothing that a program says makes rustc wait, so the
    wall clock always means a busy machine."""
    if done.ended in ("wall", "hung"):
        return Check(stage, "rustc did not end in time", timed_out=True, blocks=0)
    if done.ended == "output":
        return Check(stage, "rustc printed more than 8 MiB", blocks=0)
    if done.returncode == 0:
        return None
    diagnostics = parse_diagnostics(done.stderr)
    if diagnostics:
        return Check(stage, diagnostics[0].message, diagnostics, blocks=0)
    return Check(stage, f"rustc ended without a message: {reason(done.returncode)}", blocks=0)


def of_run(done: Finished, nonces: list[str]) -> Check:
    """The verdict on a test that ran: passed only with every block's nonce on a line of its own, in order, and exit
    code 0. A test that hangs has failed; one that the wall clock ended while it was working may have been slowed down.
    """
    lines = done.stdout.decode(errors="replace").splitlines()
    seen = [line for line in lines if line in nonces]
    blocks = len(seen)
    if done.ended == "hung":
        return Check("test", "the tests hang: they do not end and use no CPU time", blocks=blocks)
    if done.ended == "wall":
        return Check("test", "the tests did not end in time", timed_out=True, blocks=blocks)
    if done.ended == "output":
        return Check("test", "the tests printed more than sandbox.output_kb allows", blocks=blocks)
    if seen == nonces and done.returncode == 0:
        return Check("passed", f"{len(nonces)} test blocks passed", blocks=blocks)
    panics = [line for line in done.stderr.decode(errors="replace").splitlines() if line.strip()]
    why = reason(done.returncode) if done.returncode > 128 else " ".join(panics[-4:])[:500]
    detail = f"{blocks} of {len(nonces)} test blocks passed; {why or 'it ended early'}"
    return Check("test", detail, killed=done.returncode == _KILLED, blocks=blocks)


def check_machine(done: Finished) -> None:
    """Raises SandboxError if rustc failed because of the machine. An error that a program causes has a place in the
    program; what the machine lacks has none."""
    if done.returncode == 0 or done.ended != "exit":
        return
    said = b"\n".join(line for line in done.stderr.splitlines() if not line.startswith(b"{")).decode(errors="replace")
    said += "\n".join(r["message"] for r in json_lines(done.stderr) if not r.get("spans") and "message" in r)
    for sign, problem in (
        ("No space left on device", "no disk space left for the compiler's output. Free some"),
        ("Resource temporarily unavailable", "the machine has no room for rustc's threads. End some programs"),
    ):
        if sign in said:
            raise SandboxError(f"{problem} and run the same command again")
    if done.returncode == _KILLED:  # at its own limits rustc ends by another signal
        raise SandboxError("rustc was killed: the machine may be out of memory. End some programs and try again")


def reason(code: int) -> str:
    """A return code in words."""
    if code > 128:
        return f"signal {code - 128} ({_SIGNALS.get(code - 128, 'killed')})"
    return f"exit code {code}"
