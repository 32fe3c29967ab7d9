"""The pins: are they whole, and are they what is installed? And what the documents promise."""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent
PINS = dict(re.findall(r"(?m)^([\w.-]+)==(.+)$", (ROOT / "constraints.txt").read_text()))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


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


def test_installing_puts_nothing_but_sleepy_among_the_top_level_modules() -> None:
    """A module of everybody's called `run` or `conf` would be in the way of another package's."""
    built = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert built["tool"]["hatch"]["build"]["targets"]["wheel"]["only-include"] == ["sleepy"]
    assert "scripts" not in built["project"]
    files = importlib.metadata.files("sleepy") or []
    assert not [f for f in files if f.parts[0] in ("run.py", "conf")]


def test_the_algorithm_of_contributing_works_with_its_two_files_alone(tmp_path: Path) -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    blocks = re.findall(r"`((?:sleepy|conf)/[\w/.]+)`:\n\n```\w+\n(.*?)```", text, re.DOTALL)
    assert [name for name, _ in blocks] == ["sleepy/train/focal.py", "conf/algo/focal.yaml"]
    for name in ("sleepy", "conf", "hydra_plugins"):
        shutil.copytree(ROOT / name, tmp_path / name)
    shutil.copy(ROOT / "run.py", tmp_path)
    for name, content in blocks:
        assert not (tmp_path / name).exists()
        (tmp_path / name).write_text(content)
    asked = [sys.executable, "run.py", "algo=focal", "algo.gamma=1", "--cfg", "job"]
    done = subprocess.run(asked, cwd=tmp_path, capture_output=True, text=True, timeout=60, env=dict(os.environ))
    assert done.returncode == 0, done.stderr
    assert yaml.safe_load(done.stdout)["algo"] == {"_target_": "sleepy.train.focal.Focal", "gamma": 1.0}
