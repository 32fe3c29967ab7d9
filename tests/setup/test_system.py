"""What setup.sh asks of apt and rustup, and what it says when it cannot go on."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from tests.setup.conftest import Checkout, apt

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
