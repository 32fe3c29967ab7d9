"""What setup.sh decides: what to ask of apt, rustup and pip, and when to stop.

Each test has a checkout of its own, with nothing on PATH but what the test puts there, and a .venv whose pip only
writes down what it is asked.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
PLAIN_TOOLS = (
    "bash cat cut dirname echo env grep head id mkdir mktemp mv rm sed sha256sum tail true uname xargs".split()
)
INSTALL = "pip install -c constraints.txt --find-links {home}/.cache/sleepy/wheels -e ."
PYTHON = f"""#!/bin/bash
if [ "$1 $2" != "-m pip" ]; then exec {sys.executable} "$@"; fi
shift 2
while [[ $1 == --* ]]; do shift; done
echo "pip $*" >>"$CALLS"
case "$*" in
*--dry-run*) cat "$HERE/offered" ;;
wheel*) echo "CMAKE_ARGS=$CMAKE_ARGS" >>"$CALLS"; echo >"$5/llama.whl" ;;
esac
[ ! -e "$HERE/pip-fails" ]
"""


@dataclass
class Checkout:
    """The files that setup.sh reads, and a PATH of their own. Nothing is missing, nothing is set up yet."""

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

    def apt(self, rustc: str, root: bool, brings: str = ":") -> None:
        """An apt whose rustc-web has the version `rustc`; `brings` is the command that its install runs."""
        self.tool("apt-cache", f'[ "$2" = rustc-web ] && echo "  Candidate: {rustc}" || echo "  Candidate: (none)"')
        self.tool("apt-get", f'echo "apt-get $*" >>"$CALLS"; case $1 in install) {brings} ;; esac')
        self.tool("id", f"echo {0 if root else 1000}")

    def pin(self, package: str) -> None:
        """Make the pinned version one that is not installed."""
        pins = self.root / "constraints.txt"
        pins.write_text(re.sub(rf"(?m)^{package}==.*", f"{package}==9.9.9", pins.read_text()))

    def setup(self, *arguments: str, **environment: str) -> Checkout:
        log = self.root / "calls"
        log.write_text("")
        here = {"PATH": self.path, "HOME": str(self.root), "CALLS": str(log), "HERE": str(self.root), **environment}
        argv = ["/bin/bash", str(self.root / "setup.sh"), *arguments]
        done = subprocess.run(argv, env=here, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        self.said, self.status, self.calls = done.stderr, done.returncode, log.read_text().splitlines()
        return self


@pytest.fixture
def rustc() -> Path:
    done = subprocess.run(["rustc", "--print", "sysroot"], capture_output=True, text=True, check=True)
    return Path(done.stdout.strip()) / "bin" / "rustc"


@pytest.fixture
def checkout(tmp_path: Path, rustc: Path) -> Checkout:
    for name in ("setup.sh", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "bin").mkdir()
    for name in PLAIN_TOOLS:
        (tmp_path / "bin" / name).symlink_to(str(shutil.which(name)))
    (tmp_path / "bin" / "rustc").symlink_to(rustc)
    here = Checkout(tmp_path, path=str(tmp_path / "bin"))
    for name in ("bwrap", "c++"):
        here.tool(name, "exit 0")
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(PYTHON)
    python.chmod(0o755)
    return here


def test_what_is_there_is_not_installed_again(checkout: Checkout) -> None:
    install = INSTALL.format(home=checkout.root)
    assert checkout.setup("dev").status == 0, checkout.said
    assert checkout.calls == ["pip install pip>=26", f"{install}[dev]"] and "sleepy is set up" in checkout.said
    assert checkout.setup("dev").calls == [] == checkout.setup().calls
    assert f"{install}[dev,rl]" in checkout.setup("rl").calls  # a further extra is added to those that are there
    with (checkout.root / "constraints.txt").open("a") as stream:
        stream.write("# changed\n")
    assert f"{install}[dev,rl]" in checkout.setup().calls
    assert checkout.setup().calls == []


def test_a_failed_install_is_reported_and_tried_again(checkout: Checkout) -> None:
    (checkout.root / "pip-fails").touch()
    assert checkout.setup().status != 0
    assert "failed after" in checkout.said and "sleepy is set up" not in checkout.said
    (checkout.root / "pip-fails").unlink()
    assert checkout.setup().status == 0 and INSTALL.format(home=checkout.root) in checkout.calls


def test_extras_are_those_of_the_project(checkout: Checkout) -> None:
    offered = re.search(r'(?m)^EXTRAS="(.*)"', (ROOT / "setup.sh").read_text())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert offered and sorted(offered[1].split()) == sorted(project["optional-dependencies"])
    assert checkout.setup("deev").status == 1 and checkout.calls == []
    assert "there is no extra 'deev'; choose from: dev quant cuda rl ollama joblib submitit ray" in checkout.said


@pytest.mark.parametrize(("version", "line"), [
    ("1.96.0+dfsg1-1~deb12u2", "sudo apt-get update && sudo apt-get install -y rustc-web rust-web-clippy"),
    ("1.85.0+dfsg3-1", "rustup (https://rustup.rs)"),
])  # fmt: skip
@pytest.mark.parametrize("sudo", [None, 'echo "sudo $*" >>"$CALLS"; exit 1'], ids=["no sudo", "sudo asks"])
def test_without_root_what_is_missing_is_named(checkout: Checkout, version: str, line: str, sudo: str | None) -> None:
    checkout.tool("rustc", "echo 'rustc 1.87.0 (17067e9ac 2025-05-09)'")  # too old
    checkout.apt(version, root=False)
    if sudo:
        checkout.tool("sudo", sudo)
    assert checkout.setup().status == 1
    assert "rustc 1.88 or newer (found: rustc 1.87.0 (17067e9ac 2025-05-09))" in checkout.said
    assert line in checkout.said
    assert checkout.calls == (["sudo -n true"] if sudo else [])  # neither apt nor pip was asked for anything


@pytest.mark.parametrize("root", [True, False], ids=["root", "sudo"])
def test_what_is_missing_is_installed_where_nobody_must_be_asked(checkout: Checkout, rustc: Path, root: bool) -> None:
    for name in ("rustc", "bwrap"):
        (checkout.root / "bin" / name).unlink()
    checkout.apt("1.96.0", root, f"/bin/ln -s {rustc} $HERE/bin/rustc; /bin/ln -s /bin/true $HERE/bin/bwrap")
    if not root:
        checkout.tool("sudo", '[ "$1" = -n ] && shift && "$@"')
    assert checkout.setup().status == 0, checkout.said
    assert checkout.calls[0] == "apt-get update"
    assert checkout.calls[1].startswith("apt-get install -y --no-install-recommends --no-remove")
    assert checkout.calls[1].endswith(" rustc-web rust-web-clippy bubblewrap")


def test_rustup_is_asked_for_a_toolchain_and_for_clippy(checkout: Checkout, rustc: Path) -> None:
    brings = f'echo "rustup $*" >>"$CALLS"; /bin/ln -sf {rustc} $HERE/bin/rustc'
    checkout.tool("rustup", f'case "$*" in "toolchain list") cat $HERE/list ;; *) {brings} ;; esac')
    checkout.tool("rustc", "echo 'error: no default toolchain' >&2; exit 1")  # rustup's shim
    (checkout.root / "list").write_text("no installed toolchains")
    assert checkout.setup().status == 0 and checkout.calls[0] == "rustup default stable"
    checkout.tool("rustc", "case $1 in --version) echo rustc 1.95.0 ;; *) echo $HERE ;; esac")
    (checkout.root / "list").write_text("stable")
    assert checkout.setup("rl").status == 0 and checkout.calls[0] == "rustup component add clippy"


def test_a_shim_without_toolchain_is_passed_over_for_a_rustc_behind_it(checkout: Checkout, rustc: Path) -> None:
    checkout.tool("rustc", "exit 1")
    checkout.path += f":{rustc.parent}"
    assert checkout.setup().status == 0, checkout.said


def test_only_what_is_needed_stops_it(checkout: Checkout) -> None:
    for name in ("bwrap", "c++"):
        (checkout.root / "bin" / name).unlink()
    assert checkout.setup().status == 0, checkout.said  # llama-cpp-python is there already
    assert "bubblewrap: without it only sandbox=rlimit works" in checkout.said
    checkout.pin("llama_cpp_python")
    assert checkout.setup().status == 1 and "a C++ compiler" in checkout.said
    shutil.rmtree(checkout.root / ".venv")
    assert checkout.setup().status == 1 and "Python 3.11 or newer with venv" in checkout.said


def test_llama_cpp_is_compiled_once_for_a_cpu(checkout: Checkout) -> None:
    checkout.pin("llama_cpp_python")
    assert checkout.setup().status == 0, checkout.said
    assert [call.split()[1] for call in checkout.calls if call.startswith("pip")] == ["install", "wheel", "install"]
    (kept,) = (checkout.root / ".cache" / "sleepy" / "wheels").glob("llama-cpp-python-9.9.9-*/*.whl")
    assert f"--find-links {kept.parent} " in checkout.calls[-1]
    (checkout.root / ".venv" / "sleepy-setup").unlink()  # as in a second checkout
    assert checkout.setup().calls == ["pip install pip>=26", checkout.calls[-1]]
    (checkout.root / ".venv" / "sleepy-setup").unlink()
    assert any("-DLLAVA_BUILD=OFF" in c and c.endswith(" -DX=1") for c in checkout.setup(CMAKE_ARGS="-DX=1").calls)


CUDA, PLAIN = "nvidia-cublas==13.1.1.3; platform_system == 'Linux'", "cuda-bindings; extra == 'cuda'"
UV = "uv pip install --python .venv/bin/python --torch-backend=cpu --constraint constraints.txt torch==9.9.9"
PIP = "pip install -c constraints.txt torch==9.9.9"


@pytest.mark.parametrize(("offered", "gpu", "uv", "asked"), [
    (CUDA, False, "exit 0", [UV]),  # a CUDA build is not taken where there is no GPU
    (PLAIN, False, "exit 0", [PIP]),
    (PLAIN, True, "exit 0", ["pip install -c constraints.txt torch===9.9.9"]),  # not the CPU build that lies near
    (CUDA, False, "exit 1", [UV, PIP]),  # no CPU build can be had
], ids=["cpu", "pip's is cpu", "gpu", "no cpu build"])  # fmt: skip
def test_the_build_of_torch(checkout: Checkout, offered: str, gpu: bool, uv: str, asked: list[str]) -> None:
    checkout.pin("torch")
    checkout.tool("uv", f'echo "uv $*" >>"$CALLS"; {uv}')
    (checkout.root / "bin" / "uv").rename(checkout.root / ".venv" / "bin" / "uv")
    report = {"install": [{"metadata": {"name": "torch", "requires_dist": ["sympy", offered]}}]}
    (checkout.root / "offered").write_text(json.dumps(report, indent=2))
    if gpu:
        checkout.tool("nvidia-smi", "echo 'GPU 0: A (UUID: b)'")
    assert checkout.setup().status == 0, checkout.said
    assert [call for call in checkout.calls if "torch=" in call and "--dry-run" not in call] == asked
    assert ("several gigabytes" in checkout.said) == (len(asked) == 2)
