"""Programs that look like repairs and are not. A koan's tests must fail on each of them."""

from __future__ import annotations

import re

from sleepy.artifacts import Check, Task
from sleepy.rust.tokens import Function, functions, tokens


def cheats(task: Task, broken: Check) -> dict[str, str]:
    """Name -> program. Derived from rustc's word on the broken program and from the fix:

    - the broken program as it is, with the lint that it is about silenced;
    - the lines that rustc points at deleted, singly and together;
    - each function's body emptied, and replaced by `todo!()` and by a default value;
    - each function's body replaced by a value that the tests expect from it.
    """
    found: dict[str, str] = {}
    if task.lint:
        found[f"allow {task.lint}"] = f"#![allow({task.lint})]\n{task.broken}"
    lines = task.broken.splitlines()
    marked = sorted({n for d in broken.diagnostics for n, _ in d.labels if 0 < n <= len(lines)})
    for n in marked:
        found[f"delete line {n}"] = "\n".join(lines[: n - 1] + lines[n:])
    if len(marked) > 1:
        found["delete all marked lines"] = "\n".join(x for i, x in enumerate(lines, 1) if i not in marked)
    for k, function in enumerate(functions(task.fix)):
        if function.name == "main":
            continue
        where = f"{function.name} ({k})"
        found[f"empty {where}"] = _with_body(task.fix, function, "")
        found[f"todo {where}"] = _with_body(task.fix, function, "todo!()")
        found[f"default {where}"] = _with_body(task.fix, function, "Default::default()")
        for value in _expected(task.tests, function.name):
            found[f"constant {value} in {where}"] = _with_body(task.fix, function, value)
    return {name: text for name, text in found.items() if _words(text) != _words(task.fix)}


def _words(program: str) -> list[str]:
    return [t.text for t in tokens(program)]


def _with_body(program: str, function: Function, body: str) -> str:
    return f"{program[: function.start]} {body} {program[function.end :]}"


def _expected(tests: tuple[str, ...], name: str) -> list[str]:
    """The literals that `assert_eq!(...name(...)..., literal)` expects, each once, as expressions of either type."""
    values: list[str] = []
    for match in re.finditer(
        r"assert_eq!\((.*?),\s*((?:Some|Ok|Err)?\(?-?(?:\"[^\"]*\"|\d[\w.]*|true|false|None)\)?)\s*\);",
        "\n".join(tests),
    ):
        if re.search(rf"\b{re.escape(name)}\b", match.group(1)):
            literal = match.group(2)
            if literal.count("(") != literal.count(")"):
                literal = literal.rstrip(")")
            values += [literal, literal + ".to_string()"] if literal.startswith('"') else [literal]
    return list(dict.fromkeys(values))
