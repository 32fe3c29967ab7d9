"""Writes docs/reference/options.md from the YAML files of conf/ and the docstrings of the options' dataclasses.

    python docs/make_reference.py

Run it after a change of either. A test compares the page with what this would write.
"""

from __future__ import annotations

import importlib
import inspect
import re
import sys
from collections.abc import Iterator
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any, get_type_hints

import yaml

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # this checkout's sleepy, whichever is installed
from sleepy.options import CONF
from sleepy.settings import GROUPS, SECTIONS, Settings
from sleepy.tables import markdown_table

PAGE = Path(__file__).parent / "reference" / "options.md"
HEAD = """\
# Options

This page is written by `python docs/make_reference.py` from the YAML files in `conf/` and the docstrings of the code.
Do not edit it.

Every key below can be set on the command line: `python run.py algo=ewc algo.strength=50 train.lr=3e-4`. Quote values
with brackets: `'stages=[fetch,prove]'`. `python run.py --help` prints a shorter list, `--help algo=ewc` the keys of one
option, and `--cfg job` the whole config of a command line.
"""
_RANGE = re.compile(r" \((?:(?:at least|at most|above|below|to|and|,) ?|[\d.]+ ?)+\)")
_FIELD = re.compile(r"^(\w+(?:, \w+)*): (.*)")


def reference() -> str:
    """The page."""
    parts = [HEAD, "## Keys of the whole run\n", _table(Settings, "", _top(), set(GROUPS) | set(SECTIONS))]
    for section in SECTIONS:
        kind, values = get_type_hints(Settings)[section], _top()[0][1][section]
        parts += [f"## `{section}`\n", _section_comment(section), _table(kind, section, [(section, values)])]
    for group in GROUPS:
        parts += _group(group)
    parts += ["## `experiment`\n", _choices("experiment")]
    return "\n".join(parts)


def _group(group: str) -> Iterator[str]:
    """A group's options, then the keys that they share, then those of each."""
    yield f"## `{group}`\n"
    yield _choices(group)
    kinds: dict[type, list[tuple[str, dict[str, Any]]]] = {}
    for path in _options(group):
        values = _values(path)
        kinds.setdefault(_class(values.pop("_target_")), []).append((path.stem, values))
    shared = _shared(kinds)
    if shared:
        first, options = next(iter(kinds.items()))
        yield f"Keys of every option of `{group}`:\n"
        yield _table(first, group, options[:1], {f.name for f in fields(first)} - shared)
    for kind, options in kinds.items():
        names = ", ".join(f"`{group}={name}`" for name, _ in options)
        about = _prose(kind)
        table = _table(kind, group, options, shared)
        if about or table:
            yield f"### {names}\n"
            yield from [f"{about}\n"] * bool(about) + [table] * bool(table)


def _shared(kinds: dict[type, list[tuple[str, dict[str, Any]]]]) -> set[str]:
    """The keys that all options of a group have, with the same default."""
    if len(kinds) < 2:
        return set()
    options = [(kind, values) for kind, found in kinds.items() for _, values in found]
    first = options[0][0]
    return {
        f.name
        for f in fields(first)
        if all(f.name in {g.name for g in fields(kind)} for kind, _ in options)
        and len({repr(_default(f, values)) for _, values in options}) == 1
        and len({_meanings(kind).get(f.name, "") for kind, _ in options}) == 1
    }


def _table(kind: type, prefix: str, options: list[tuple[str, dict[str, Any]]], without: set[str] = frozenset()) -> str:
    """A row for each key of a dataclass; where its options differ in a short default, each is named."""
    meanings, rows = _meanings(kind), []
    for f in fields(kind):
        if f.name in without:
            continue
        found = {name: _shown(_default(f, values)) for name, values in options}
        same = len(set(found.values())) == 1
        default = next(iter(found.values())) if same else "see the YAML"
        if not same and len(", ".join(found.values())) < 60:
            default = ", ".join(f"{value} ({name})" for name, value in found.items())
        meaning = _RANGE.sub("", meanings.get(f.name, "")).strip()
        meaning = meaning[:1].upper() + meaning[1:]
        rows.append([f"`{prefix}.{f.name}`" if prefix else f"`{f.name}`", default, _bounds(f.metadata), meaning])
    return markdown_table(["key", "default", "allowed", "meaning"], rows) + "\n" if rows else ""


def _default(f: Any, values: dict[str, Any]) -> Any:
    if f.name in values:
        return values[f.name]
    return f.default if f.default is not MISSING else f.default_factory() if f.default_factory is not MISSING else None


def _shown(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, dict):
        return "`{" + ", ".join(f"{k}: {v}" for k, v in value.items()) + "}`"
    if isinstance(value, list):
        return "`[" + ", ".join(map(str, value)) + "]`"
    return f"`{value}`" if value != "" else "empty"


def _bounds(metadata: Any) -> str:
    if "choices" in metadata:
        return ", ".join(f"`{word}`" for word in metadata["choices"])
    words = {"above": "above", "at_least": "at least", "below": "below", "at_most": "at most"}
    return ", ".join(f"{words[name]} {bound}" for name, bound in metadata.items() if name in words)


def _meanings(kind: type) -> dict[str, str]:
    """What the docstrings of a class and its bases say of each field."""
    found: dict[str, str] = {}
    for parent in reversed(kind.__mro__):
        if is_dataclass(parent) and parent.__doc__:
            name = ""
            for line in _lines(parent):
                if match := _FIELD.match(line):
                    name = match[1]
                    found |= {each: match[2] for each in name.split(", ")}
                elif name and line.startswith("    "):
                    found |= {each: f"{found[each]} {line.strip()}" for each in name.split(", ")}
                else:
                    name = ""
    return found


def _prose(kind: type) -> str:
    """What a docstring says besides its fields."""
    kept, own = [], False
    names = {f.name for f in fields(kind)}
    for line in _lines(kind):
        match = _FIELD.match(line)
        own = bool(match and set(match[1].split(", ")) & names) or (own and line.startswith("    "))
        if not own and not line.startswith(("The other fields are", "The fields are")):
            kept.append(line)
    return "\n".join(map(_plain, "\n".join(kept).strip().splitlines()))


def _plain(line: str) -> str:
    """A line of a docstring in which Markdown sees no emphasis and no tag; indented lines are formulas."""
    if line.startswith("    "):
        return line
    parts = line.split("`")
    parts[::2] = [part.replace("*", r"\*").replace("<", "&lt;") for part in parts[::2]]
    return "`".join(parts)


def _lines(kind: type) -> list[str]:
    return inspect.cleandoc(kind.__doc__ or "").splitlines()


def _choices(group: str) -> str:
    """A row for each option of a group with the comment that its YAML begins with."""
    default = _chosen().get(group)
    rows = []
    for path in _options(group):
        name = f"`{group}={path.stem}`"
        rows.append([f"{name} (default)" if path.stem == default else name, _first_comment(path)])
    return markdown_table(["option", "what it is"], rows) + "\n"


def _options(group: str) -> list[Path]:
    """The YAML files of a group, the default first."""
    default = _chosen().get(group)
    return sorted((CONF / group).glob("*.yaml"), key=lambda path: (path.stem != default, path.stem))


def _chosen() -> dict[str, str]:
    config = yaml.safe_load((CONF / "config.yaml").read_text(encoding="utf-8"))
    return {k: v for entry in config["defaults"] if isinstance(entry, dict) for k, v in entry.items()}


def _top() -> list[tuple[str, dict[str, Any]]]:
    """The keys of config.yaml with their values. The cache is shown as it is where no variable names another."""
    config = yaml.safe_load((CONF / "config.yaml").read_text(encoding="utf-8"))
    return [("config", config | {"cache": "~/.cache/sleepy"})]


def _first_comment(path: Path) -> str:
    """The comment at the head of a YAML file, as one line."""
    found = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        if "@package" not in line:
            found.append(line.removeprefix("#").strip())
    return " ".join(found)


def _section_comment(section: str) -> str:
    """The comment beside a section of config.yaml, as a sentence."""
    text = (CONF / "config.yaml").read_text(encoding="utf-8")
    said = re.search(rf"^{section}:  # (.*)$", text, re.MULTILINE)
    return f"{said[1][:1].upper()}{said[1][1:]}.\n" if said else ""


def _values(path: Path) -> dict[str, Any]:
    """What a YAML file sets, on top of the options of its folder that it builds on."""
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    found: dict[str, Any] = {}
    for base in content.pop("defaults", []):
        if isinstance(base, str) and (path.parent / f"{base}.yaml").is_file():
            found |= _values(path.parent / f"{base}.yaml")
    return found | content


def _class(target: str) -> Any:
    module, name = target.rsplit(".", 1)
    return getattr(importlib.import_module(module), name)


if __name__ == "__main__":
    PAGE.write_text(reference(), encoding="utf-8")
