"""setup.sh in a checkout of its own, with nothing on PATH but what a test puts there: what it asks of pip, apt and
rustup, and what it says when it cannot go on. And the pins: are they whole, and are they what is installed?"""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
import time
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
PINS = dict(re.findall(r"(?m)^([\w.-]+)==(.+)$", (ROOT / "constraints.txt").read_text()))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PLAIN_TOOLS = "bash cat dirname echo env getconf grep head id ln mktemp rm sed sha256sum sleep tail uname xargs".split()
INSTALL_SLEEPY = "pip install -c constraints.txt -e ."


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


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


# ---------------------------------------------------------------- pip


def test_the_second_run_does_nothing_and_is_fast(checkout: Checkout) -> None:
    assert checkout.setup("dev").status == 0, checkout.said
    assert checkout.calls == ["pip install pip>=23.2", f"{INSTALL_SLEEPY}[dev]"]
    start = time.perf_counter()
    assert checkout.setup("dev").status == 0 and checkout.calls == []
    assert time.perf_counter() - start < 2
    assert "sleepy is set up" in checkout.said
    assert checkout.setup().calls == []  # less than is there is there


def test_another_extra_is_added_to_those_that_are_there(checkout: Checkout) -> None:
    checkout.setup("dev")
    assert f"{INSTALL_SLEEPY}[dev,rl]" in checkout.setup("rl").calls
    assert checkout.setup("dev", "rl").calls == []


@pytest.mark.parametrize("name", ["pyproject.toml", "constraints.txt", "setup.sh"])
def test_a_changed_file_installs_anew_with_the_same_extras(checkout: Checkout, name: str) -> None:
    checkout.setup("dev")
    with (checkout.root / name).open("a") as stream:
        stream.write("# changed\n")
    assert f"{INSTALL_SLEEPY}[dev]" in checkout.setup().calls


def test_a_failed_install_is_reported_and_tried_again(checkout: Checkout) -> None:
    (checkout.root / "pip-fails").touch()
    assert checkout.setup().status != 0
    assert "failed after" in checkout.said and "sleepy is set up" not in checkout.said
    (checkout.root / "pip-fails").unlink()
    assert checkout.setup().status == 0 and INSTALL_SLEEPY in checkout.calls
    (checkout.root / "pip-fails").touch()
    assert checkout.setup("dev").status != 0
    (checkout.root / "pip-fails").unlink()
    assert INSTALL_SLEEPY in checkout.setup().calls  # what was there may be broken halfway


def test_an_unknown_extra_is_named(checkout: Checkout) -> None:
    assert checkout.setup("deev").status == 1
    assert "found 'deev', expected one of: dev quant cuda rl ollama" in checkout.said
    assert checkout.calls == []


def test_every_extra_of_the_project_can_be_asked_for() -> None:
    offered = re.search(r'(?m)^EXTRAS="(.*)"', (ROOT / "setup.sh").read_text())
    assert offered and sorted(offered[1].split()) == sorted(PROJECT["optional-dependencies"])


# ---------------------------------------------------------------- torch


@pytest.fixture
def no_torch(checkout: Checkout) -> Checkout:
    """The pinned torch is one that is not installed; pip would take a CUDA build of it."""
    pins = checkout.root / "constraints.txt"
    pins.write_text(re.sub(r"(?m)^torch==.*", "torch==9.9.9", pins.read_text()))
    checkout.tool("uv", 'echo "uv $*" >>"$CALLS"; [ ! -e "$HERE/uv-fails" ]')
    (checkout.root / "bin" / "uv").rename(checkout.root / ".venv" / "bin" / "uv")
    would_take(checkout, "sympy", "nvidia-cublas==13.1.1.3; platform_system == 'Linux'")
    return checkout


def would_take(checkout: Checkout, *requirements: str) -> None:
    report = {"install": [{"metadata": {"name": "torch", "requires_dist": requirements}}]}
    (checkout.root / "report").write_text(json.dumps(report))


def asked_for_torch(checkout: Checkout) -> list[str]:
    assert checkout.setup().status == 0, checkout.said
    return [call for call in checkout.calls if "torch" in call and "--dry-run" not in call]


def test_a_cuda_build_is_not_taken_where_there_is_no_gpu(no_torch: Checkout) -> None:
    (call,) = asked_for_torch(no_torch)
    assert call.startswith("uv pip install --python .venv/bin/python --torch-backend=cpu")
    assert call.endswith("torch==9.9.9")


def test_pips_build_is_taken_where_it_is_a_cpu_build(no_torch: Checkout) -> None:
    would_take(no_torch, "sympy", "nvidia-cublas; python_version < '3'", "cuda-bindings; extra == 'cuda'")
    assert asked_for_torch(no_torch) == ["pip install -c constraints.txt torch==9.9.9"]


def test_a_gpu_gets_the_cuda_build_even_where_a_cpu_build_lies_near(no_torch: Checkout) -> None:
    no_torch.tool("nvidia-smi", "echo 'GPU 0: A (UUID: b)'")
    assert asked_for_torch(no_torch) == ["pip install -c constraints.txt torch===9.9.9"]


def test_without_a_cpu_build_pips_is_taken_with_a_notice(no_torch: Checkout) -> None:
    (no_torch.root / "uv-fails").touch()
    assert asked_for_torch(no_torch)[-1] == "pip install -c constraints.txt torch==9.9.9"
    assert "several gigabytes" in no_torch.said


# ---------------------------------------------------------------- what pip cannot bring

DEBIAN_12 = {"rustc": "1.63.0+dfsg1-2", "rustc-web": "1.85.0+dfsg3-1~deb12u3", "rust-web-clippy": "1.85.0"}
DEBIAN_13 = {"rustc": "1.85.0+dfsg3-1", "rust-clippy": "1.85.0+dfsg3-1", "rustup": "1.27.1-3"}
UBUNTU_24 = {"rustc": "1.75.0+dfsg0ubuntu1-0ubuntu7", "rust-clippy": "1.75.0", "rustup": "1.26.0-5"}
UBUNTU_22 = {"rustc": "1.75.0+dfsg0ubuntu1~bpo0-0ubuntu0.22.04"}


@pytest.mark.parametrize(
    ("candidates", "line"),
    [
        (DEBIAN_12, "sudo apt-get update && sudo apt-get install -y rustc-web rust-web-clippy"),
        (DEBIAN_13, "sudo apt-get update && sudo apt-get install -y rustc rust-clippy"),
        (UBUNTU_24, "rustup default stable"),
        (UBUNTU_22, "https://sh.rustup.rs"),
    ],
    ids=["debian-12", "debian-13", "ubuntu-24.04", "ubuntu-22.04"],
)
def test_without_root_the_line_that_installs_rustc_is_named(
    checkout: Checkout, candidates: dict[str, str], line: str
) -> None:
    checkout.without("rustc")
    apt(checkout, candidates, root=False)
    assert checkout.setup().status == 1
    assert "rustc 1.85 or newer (found: none that runs)" in checkout.said
    assert line in checkout.said
    assert checkout.calls == []  # neither apt nor pip was asked for anything


@pytest.mark.parametrize("root", [True, False], ids=["root", "sudo"])
def test_what_is_missing_is_installed_where_that_takes_no_question(
    checkout: Checkout, real_rustc: Path, root: bool
) -> None:
    checkout.without("rustc", "bwrap")
    apt(checkout, DEBIAN_12, root, f"ln -s {real_rustc} $HERE/bin/rustc; ln -s /bin/true $HERE/bin/bwrap")
    if not root:
        checkout.tool("sudo", '[ "$1" = -n ] && shift && "$@"')
        checkout.tool("true", "exit 0")
    assert checkout.setup().status == 0, checkout.said
    assert checkout.calls[0] == "apt-get update"
    assert checkout.calls[1].startswith("apt-get install -y --no-install-recommends --no-remove")
    assert checkout.calls[1].endswith(" rustc-web rust-web-clippy bubblewrap")


def test_a_sudo_that_wants_a_password_is_not_asked(checkout: Checkout) -> None:
    checkout.without("rustc")
    apt(checkout, DEBIAN_12, root=False)
    checkout.tool("sudo", 'echo "sudo $*" >>"$CALLS"; exit 1')
    assert checkout.setup().status == 1
    assert checkout.calls == ["sudo -n true"]


def test_an_old_rustc_is_not_enough(checkout: Checkout) -> None:
    checkout.tool("rustc", "echo 'rustc 1.84.1 (e71f9a9a9 2025-01-27)'")
    assert checkout.setup().status == 1
    assert "rustc 1.85 or newer (found: rustc 1.84.1 (e71f9a9a9 2025-01-27))" in checkout.said


def test_a_shim_without_toolchain_is_passed_over_for_a_rustc_behind_it(checkout: Checkout, real_rustc: Path) -> None:
    checkout.tool("rustc", "echo 'error: no default toolchain' >&2; exit 1")
    later = checkout.root / "later"
    later.mkdir()
    (later / "rustc").symlink_to(real_rustc)
    checkout.path += f":{later}"
    assert checkout.setup().status == 0, checkout.said


def test_rustup_without_toolchain_is_given_one(checkout: Checkout, real_rustc: Path) -> None:
    checkout.without("rustc")
    checkout.tool(
        "rustup",
        f"""case "$*" in
"toolchain list") echo "no installed toolchains" ;;
"default stable") echo "rustup $*" >>"$CALLS"; ln -s {real_rustc} $HERE/bin/rustc ;;
esac""",
    )
    assert checkout.setup().status == 0, checkout.said
    assert checkout.calls[0] == "rustup default stable"


@pytest.mark.parametrize("brings", ["rustup", "apt-get", ""])
def test_a_toolchain_without_clippy_is_given_it(checkout: Checkout, brings: str) -> None:
    driver = checkout.root / "toolchain" / "bin" / "clippy-driver"
    driver.parent.mkdir(parents=True)
    said = "case $1 in --version) echo rustc 1.95.0 ;; --print) echo $HERE/toolchain ;; esac"
    checkout.without("rustc")
    checkout.tool("rustc", said)
    bring = f"printf x >{driver}; /bin/chmod +x {driver}"
    if brings == "rustup":
        checkout.tool("rustup", f'echo "rustup $*" >>"$CALLS"; {bring}')
    if brings == "apt-get":
        checkout.tool("dpkg", '[ "$2" = rustc-web ]')
        apt(checkout, DEBIAN_12, True, bring)
    assert checkout.setup().status == (0 if brings else 1), checkout.said
    if brings:
        line = next(call for call in checkout.calls if call.startswith(brings) and "update" not in call)
        assert line.endswith({"rustup": "component add clippy", "apt-get": " rust-web-clippy"}[brings])
    else:
        assert "Clippy for that rustc" in checkout.said


def test_without_bubblewrap_it_warns_and_goes_on(checkout: Checkout) -> None:
    checkout.without("bwrap")
    assert checkout.setup().status == 0
    assert "bubblewrap (without it, sandbox=rlimit, which covers less)" in checkout.said


def test_without_compiler_it_stops_only_if_one_is_needed(checkout: Checkout) -> None:
    checkout.without("c++")
    assert checkout.setup().status == 0, checkout.said  # llama-cpp-python is there already
    pins = checkout.root / "constraints.txt"
    pins.write_text(re.sub(r"(?m)^llama_cpp_python==.*", "llama_cpp_python==9.9.9", pins.read_text()))
    assert checkout.setup().status == 1
    assert "a C++ compiler" in checkout.said


def test_without_python_it_says_so(checkout: Checkout) -> None:
    shutil.rmtree(checkout.root / ".venv")
    checkout.tool("python3", "exit 1")  # too old
    assert checkout.setup().status == 1
    assert "Python 3.11 or newer with venv" in checkout.said


# ---------------------------------------------------------------- the pins


def test_every_line_of_constraints_is_a_plain_pin() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    odd = [line for line in lines if not re.fullmatch(r"#.*|[A-Za-z0-9][\w.-]*==[0-9][\w.]*", line)]
    assert odd == []  # no file, no host, no build such as +cpu


def closure(extras: set[str]) -> set[str]:
    """Normalised names of all that sleepy with `extras` needs here, read from what is installed."""
    from packaging.requirements import Requirement

    todo = [Requirement(r) for r in PROJECT["dependencies"]]
    todo += [Requirement(r) for extra in extras for r in PROJECT["optional-dependencies"][extra]]
    seen: set[tuple[str, frozenset[str]]] = set()
    while todo:
        one = todo.pop()
        key = (normal(one.name), frozenset(one.extras))
        if key in seen or not (one.marker is None or one.marker.evaluate({"extra": ""})):
            continue
        seen.add(key)
        try:
            below = importlib.metadata.requires(one.name) or []
        except importlib.metadata.PackageNotFoundError:
            continue  # an extra that is not installed here
        for requirement in map(Requirement, below):
            marker = requirement.marker
            if marker is None or any(marker.evaluate({"extra": extra}) for extra in ("", *one.extras)):
                todo.append(requirement)
    return {name for name, _ in seen} - {"sleepy"}


def test_all_that_sleepy_needs_is_pinned() -> None:
    pinned = {normal(name) for name in PINS}
    needed = closure({"dev", "quant", "rl", "ollama", "cuda"})
    # a CUDA build of torch brings its own, each at a version that it names
    missing = sorted(name for name in needed - pinned if not name.startswith(("nvidia-", "cuda-", "triton")))
    assert missing == []
    assert len(needed) > 100  # the walk went below the first level


def test_what_is_installed_is_what_is_pinned() -> None:
    """Numbers are compared over months: a package that drifted is a reason to run `bash setup.sh dev`."""
    pins = {normal(name): version for name, version in PINS.items()}
    drifted = {}
    for name in closure({"dev"}):
        try:
            found = importlib.metadata.version(name).split("+")[0]
        except importlib.metadata.PackageNotFoundError:
            found = "none"
        if found != pins.get(name, found):
            drifted[name] = f"found {found}, expected {pins[name]}"
    assert drifted == {}


# ---------------------------------------------------------------- what the documents promise


def test_ci_runs_the_readmes_test_command() -> None:
    command = "bash setup.sh dev && .venv/bin/python -m pytest"
    assert command in (ROOT / ".ci" / "run").read_text()
    readme = ROOT / "README.md"
    if readme.exists():
        assert command in readme.read_text()
        assert "bash setup.sh && .venv/bin/python run.py" in readme.read_text()


def test_the_installed_command_finds_its_config_from_anywhere(tmp_path: Path) -> None:
    code = "import sys; sys.argv[0] = 'sleepy'; from run import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "--cfg", "job"],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "algo" in yaml.safe_load(done.stdout)


def test_the_algorithm_of_contributing_works_with_its_two_files_alone(tmp_path: Path) -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    blocks = re.findall(r"`((?:sleepy|conf)/[\w/.]+)`:\n\n```\w+\n(.*?)```", text, re.DOTALL)
    assert [name for name, _ in blocks] == ["sleepy/algo/focal.py", "conf/algo/focal.yaml"]
    for name in ("sleepy", "conf"):
        shutil.copytree(ROOT / name, tmp_path / name)
    shutil.copy(ROOT / "run.py", tmp_path)
    for name, content in blocks:
        assert not (tmp_path / name).exists()
        (tmp_path / name).write_text(content)
    asked = [sys.executable, "run.py", "algo=focal", "algo.gamma=1", "--cfg", "job"]
    done = subprocess.run(asked, cwd=tmp_path, capture_output=True, text=True, timeout=60, env=dict(os.environ))
    assert done.returncode == 0, done.stderr
    assert yaml.safe_load(done.stdout)["algo"] == {"_target_": "sleepy.algo.focal.Focal", "gamma": 1.0}
