"""What setup.sh asks of pip: once and again, and which build of torch."""

from __future__ import annotations

import json
import re
import time

import pytest

from tests.setup.conftest import INSTALL_SLEEPY, PROJECT, ROOT, Checkout


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
