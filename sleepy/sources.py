"""The code that determines a result: the modules at work and all that they import, one digest for all of them."""

from __future__ import annotations

import ast
import functools
import importlib.util
from collections.abc import Collection, Iterator
from pathlib import Path

from sleepy.artifacts import digest_of, digest_of_file

_ROOT = Path(__file__).parent
_PACKAGE = _ROOT.name
# What shows, records or checks, and changes no result. What they import counts only where something else imports it.
_SILENT = frozenset(
    "clean cli context explain figures identity options preflight progress replay report settings sources sweep tables "
    "track".split()
)
_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


@functools.cache
def code_digest(modules: frozenset[str]) -> str:
    """A digest of `modules`, given by their dotted names, of the modules of sleepy that they import, at any distance,
    and of the JSON files beside these. Comments, docstrings and the layout of the code do not count.

    It is found once in a process, like the code itself.
    """
    found: dict[str, str] = {}
    todo = set(modules)
    while todo:
        name = todo.pop()
        if name not in found and (path := _file(name)):
            found[name], imported = _read(path)
            todo |= {module for module in imported if _counts(module)}
    folders = {path.parent for name in found if (path := _file(name)) and path.is_relative_to(_ROOT)}
    beside = sorted(path for folder in folders for path in folder.glob("*.json"))
    return digest_of([found, {str(path.relative_to(_ROOT)): digest_of_file(path) for path in beside}])


def _counts(module: str) -> bool:
    package, _, rest = module.partition(".")
    return package == _PACKAGE and rest.partition(".")[0] not in _SILENT


@functools.cache
def _file(module: str) -> Path | None:
    """The module's file; None where there is none that can be read, as of a name that is no module."""
    parts = module.split(".")
    if parts[0] == _PACKAGE:
        bare = _ROOT.joinpath(*parts[1:])
        return next((p for p in (bare.with_suffix(".py"), bare / "__init__.py") if p.is_file()), None)
    spec = importlib.util.find_spec(module)
    return Path(spec.origin) if spec and spec.origin and spec.origin.endswith(".py") else None


@functools.cache
def _read(path: Path) -> tuple[str, frozenset[str]]:
    """A digest of what a module does, and the names that it imports, also inside of functions."""
    tree = ast.parse(path.read_bytes(), str(path))
    imported = frozenset(name for node in ast.walk(tree) for name in _imported(node))
    for node in ast.walk(tree):
        if isinstance(node, _DOCUMENTED) and ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:]
    return digest_of(ast.dump(tree)), imported


def _imported(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and node.module:
        yield node.module
        yield from (f"{node.module}.{alias.name}" for alias in node.names)  # a module of a package, or a name in one


def modules_of(options: Collection[object]) -> frozenset[str]:
    """The modules of the options' classes."""
    return frozenset(type(option).__module__ for option in options)
