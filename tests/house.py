"""The house rules that no other tool holds, each a check that takes a root folder and returns a line per violation.

The order of imports, cycles and modules with a leading underscore are import-linter's (see pyproject.toml).
"""

from __future__ import annotations

import ast
import functools
import json
import re
import statistics
import subprocess
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent
NO_OPTIONS = ("experiment", "hydra")  # folders of conf/ that choose among options and are none
HEAVY = (
    "torch", "transformers", "peft", "mlflow", "llama_cpp", "matplotlib", "gguf", "huggingface_hub", "scipy", "numpy",
)  # fmt: skip
LONGEST, MEDIAN = 300, 120  # lines of a module, and what their median stays under
# Spelled with [.] and [/], so that this file does not accuse itself.
LOCAL = r"[/]root/|[/]work/|[/]opt/(?:wheels|pypi)|[.]library/|[/]tmp/w/"
HOSTS = r"pypi[.]org|pythonhosted[.]org|(?:deb|security)[.]debian[.]org|npmjs[.]org|download[.]pytorch[.]org"


def modules(root: Path) -> dict[str, Path]:
    """Dotted name -> file, of every module under sleepy/; a package is its __init__.py."""
    found = {}
    for path in sorted((root / "sleepy").rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


@functools.cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def option_files(root: Path) -> list[Path]:
    """Every YAML that is an option."""
    files = sorted((root / "conf").glob("*/**/*.yaml"))
    return [path for path in files if path.relative_to(root / "conf").parts[0] not in NO_OPTIONS]


def target_of(path: Path) -> str:
    """The class that a YAML names, itself or through an option of its folder that it builds on."""
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    if not isinstance(content, dict):
        return ""
    bases = [path.with_name(f"{base}.yaml") for base in content.get("defaults", []) if isinstance(base, str)]
    inherited = [target_of(base) for base in bases if base.exists() and base != path]
    return str(content.get("_target_") or next(iter(inherited), ""))


def classes(root: Path) -> dict[str, ast.ClassDef]:
    """Dotted name -> class, of every class at the top level of a module of the tree."""
    return {
        f"{module}.{node.name}": node
        for module, path in modules(root).items()
        for node in tree_of(path).body
        if isinstance(node, ast.ClassDef)
    }


def every_yaml_names_an_option(root: Path) -> list[str]:
    """Rule 1, from the YAML's side."""
    found, known = [], classes(root)
    for path in option_files(root):
        where, target = path.relative_to(root), target_of(path)
        if not target.startswith("sleepy."):
            found.append(f"{where}: found _target_ {target!r}, expected a class under sleepy.")
        elif any(part.startswith("_") for part in target.split(".")):
            found.append(f"{where}: {target} belongs to its room only (leading underscore), expected an option")
        elif target not in known:
            found.append(f"{where}: there is no class {target}")
    return found


def every_option_has_a_yaml(root: Path) -> list[str]:
    """Rule 1, from the class's side: what a room's options derive from makes an option of every class of the room."""
    known, named = classes(root), {target_of(path) for path in option_files(root)}
    bases = {(name.split(".")[1], base) for name in named if name in known for base in bases_of(known[name])}
    found = []
    for name, node in known.items():
        room = name.split(".")[1]
        derives = any((room, base) in bases for base in bases_of(node)) and (room, node.name) not in bases
        if derives and name not in named and not node.name.startswith("_"):
            found.append(f"{name}: no YAML names it; write one, or give the class a leading underscore")
    return found


def bases_of(node: ast.ClassDef) -> list[str]:
    return [base.id for base in node.bases if isinstance(base, ast.Name)]


def importing_is_light(root: Path) -> list[str]:
    """Rule 4: importing every module of sleepy loads none of the heavy libraries."""
    return heavy_after(root, f"for name in {list(modules(root))!r}: importlib.import_module(name)")


def heavy_after(root: Path, code: str) -> list[str]:
    """What a fresh interpreter has loaded of HEAVY when `code` has run in `root`."""
    loaded = f"[name for name in {HEAVY!r} if name in sys.modules]"
    script = f"import importlib, json, runpy, sys\n{code}\nprint(json.dumps({loaded}))"
    done = subprocess.run([sys.executable, "-c", script], cwd=root, capture_output=True, text=True)
    if done.returncode:
        return [done.stderr.strip().splitlines()[-1]]
    loaded = json.loads(done.stdout.splitlines()[-1])
    return [f"{name} is loaded; import it inside the function that needs it" for name in loaded]


def modules_are_small(root: Path) -> list[str]:
    """Rule 5. Package files (__init__.py) count for the longest, not for the median, which they would flatter; so do
    tests, which may be long but not endless."""
    tests = {str(path.relative_to(root)): path for path in sorted((root / "tests").rglob("*.py"))}
    paths = {**modules(root), **tests}
    lines = {name: len(path.read_text(encoding="utf-8").splitlines()) for name, path in paths.items()}
    found = [f"{name}: {n} lines, expected at most {LONGEST}" for name, n in lines.items() if n > LONGEST]
    middle = statistics.median([lines[n] for n, p in modules(root).items() if p.name != "__init__.py"])
    return found + [f"the median module has {middle:g} lines, expected under {MEDIAN}"] * (middle >= MEDIAN)


def class_variables(root: Path) -> set[str]:
    """Names that some class of the tree declares as ClassVar: a child may give them another value without a type."""
    nodes = [node for path in modules(root).values() for node in ast.walk(tree_of(path))]
    declared = [n for n in nodes if isinstance(n, ast.AnnAssign) and ast.unparse(n.annotation).startswith("ClassVar")]
    return {n.target.id for n in declared if isinstance(n.target, ast.Name)}


def constructors_are_typed(root: Path) -> list[str]:
    """Rule 6: options are frozen, keyword-only dataclasses of typed fields; no constructor takes **kwargs."""
    found, known = [], classes(root)
    for target in dict.fromkeys(target_of(path) for path in option_files(root)):
        node = known.get(target)
        if node is None:
            continue  # the first check says so
        decorators = [ast.unparse(d).rpartition("dataclasses.")[2] for d in node.decorator_list]
        if "dataclass(frozen=True, kw_only=True)" not in decorators:
            found.append(f"{target}: expected @dataclass(frozen=True, kw_only=True)")
        assigned = {
            t.id for item in node.body if isinstance(item, ast.Assign) for t in item.targets if type(t) is ast.Name
        }
        untyped = sorted(n for n in assigned - class_variables(root) if not (n.startswith("_") or n.isupper()))
        found += [f"{target}.{name}: has no type, so it is no field" for name in untyped]
    for name, path in modules(root).items():
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.FunctionDef) and node.name == "__init__":
                args = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs][1:]
                found += [f"{name}:{node.lineno} __init__({a.arg}) has no type" for a in args if a.annotation is None]
                if node.args.kwarg:
                    found.append(f"{name}:{node.lineno} __init__ takes **{node.args.kwarg.arg}")
    return found


def nothing_local_is_named(root: Path) -> list[str]:
    """No file that is or would be committed names a path of one machine, or a package registry's host."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=root, capture_output=True
    )
    if listed.returncode == 0:
        paths = [root / name for name in listed.stdout.decode().split("\0") if name]
    else:  # not a git checkout
        paths = [path for path in root.rglob("*") if ".venv" not in path.parts]
    found = []
    for path in sorted(path for path in paths if path.is_file()):
        for number, line in enumerate(path.read_text(encoding="utf-8", errors="ignore").splitlines(), 1):
            if match := re.search(f"{LOCAL}|{HOSTS}", line):
                found.append(f"{path.relative_to(root)}:{number} names {match.group()}")
    return found


CHECKS = (
    every_yaml_names_an_option, every_option_has_a_yaml, importing_is_light, modules_are_small, constructors_are_typed,
    nothing_local_is_named,
)  # fmt: skip
