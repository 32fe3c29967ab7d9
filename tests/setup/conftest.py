"""What the tests of setup.sh share: a checkout of its own, with nothing on PATH but what a test puts there."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PLAIN_TOOLS = "bash cat dirname echo env getconf grep head id ln mktemp rm sed sha256sum sleep tail uname xargs".split()
INSTALL_SLEEPY = "pip install -c constraints.txt -e ."


@dataclass
class Checkout:
    """A copy of the files setup.sh reads, a .venv whose pip only writes down what it is asked, a PATH of its own."""

    root: Path
    path: str
    said: str = ""
    status: int = 0
    calls: list[str] = field(default_factory=list)

    def tool(self, name: str, script: str) -> None:
        """Put a script on PATH."""
        path = self.root / "bin" / name
        path.unlink(missing_ok=True)
        path.write_text(f"#!/bin/bash\n{script}\n")
        path.chmod(0o755)

    def without(self, *names: str) -> None:
        for name in names:
            (self.root / "bin" / name).unlink()

    def setup(self, *arguments: str) -> Checkout:
        log = self.root / "calls"
        log.write_text("")
        environment = {"PATH": self.path, "HOME": str(self.root), "CALLS": str(log), "HERE": str(self.root)}
        done = subprocess.run(
            ["/bin/bash", str(self.root / "setup.sh"), *arguments],
            env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        self.said, self.status = done.stderr, done.returncode
        self.calls = [line for line in log.read_text().splitlines() if not line.startswith("pip cache")]
        return self


@pytest.fixture(scope="session")
def real_rustc() -> Path:
    done = subprocess.run(["rustc", "--print", "sysroot"], capture_output=True, text=True, check=True)
    return Path(done.stdout.strip()) / "bin" / "rustc"


@pytest.fixture
def checkout(tmp_path: Path, real_rustc: Path) -> Checkout:
    """Nothing is missing, nothing is set up yet."""
    for name in ("setup.sh", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "bin").mkdir()
    for name in PLAIN_TOOLS:
        (tmp_path / "bin" / name).symlink_to(shutil.which(name) or name)
    (tmp_path / "bin" / "rustc").symlink_to(real_rustc)
    here = Checkout(tmp_path, path=str(tmp_path / "bin"))
    for name in ("bwrap", "c++"):
        here.tool(name, "exit 0")
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(
        f"""#!/bin/bash
if [ "$1 $2" != "-m pip" ]; then exec {sys.executable} "$@"; fi
shift 4 # -m pip --disable-pip-version-check --no-input
echo "pip $*" >>"$CALLS"
if [ "$3" = --dry-run ]; then cat "$HERE/report"; fi
[ ! -e "$HERE/pip-fails" ] || exit 1
"""
    )
    python.chmod(0o755)
    return here


def apt(checkout: Checkout, candidates: dict[str, str], root: bool, brings: str = ":") -> None:
    """An apt that knows `candidates`; `brings` is the command that its install runs."""
    answers = "\n".join(f'{name}) echo "  Candidate: {version}" ;;' for name, version in candidates.items())
    checkout.tool("apt-cache", f'case $2 in\n{answers}\n*) echo "  Candidate: (none)" ;;\nesac')
    checkout.tool("apt-get", f'echo "apt-get $*" >>"$CALLS"; case $1 in install) {brings} ;; esac')
    checkout.tool("id", f"echo {0 if root else 1000}")
