"""The documentation says what the code does: the page of options, the links, the options that pages name."""

from __future__ import annotations

import functools
import importlib.util
import re
import shlex
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from sleepy.cli import meant
from sleepy.options import CONF
from sleepy.settings import GROUPS, SECTIONS, Settings, settings
from tests.jobs import ROOT, composed

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
# Results keep the command that was typed then, the changelog speaks of options that are gone.
CURRENT = [page for page in PAGES if page.parent.name != "results"]
_SHORT = {"cycles", "key", "name"}  # keys that are no field: a short spelling, and the word for any key
_TAGS = {"gate.rule", "gate.reason", "gate.in_use", "export.proof", "model.digest", "tasks.digest"}  # of runs
_EXAMPLE = {"algo=focal: no such option", "algo.gamma: no such key"}  # what CONTRIBUTING adds
_FILLED_IN = {"MODEL": "qwen2.5-coder-0.5b", "TASKS": "koans"}  # what a reader is to fill in
_NOT_COMPOSED = re.compile(
    r"GROUP=|key=|focal|--help|--hydra-help"
)  # forms of a command, and commands that show something


@functools.cache
def make_reference() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_reference", ROOT / "docs" / "make_reference.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_of_options_is_what_the_code_says() -> None:
    maker = make_reference()
    assert maker.PAGE.read_text(encoding="utf-8") == maker.reference(), "run: python docs/make_reference.py"


def test_every_key_has_a_meaning() -> None:
    rows = [
        line for line in make_reference().reference().splitlines() if line.startswith("| `") and line.count("|") == 5
    ]
    assert len(rows) > 100
    assert [row for row in rows if row.endswith("|  |")] == []


def anchors(page: Path) -> set[str]:
    """The anchors that a code host gives the headings of a page."""
    heads = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if re.match(r"https?:", target):
            continue
        name, _, anchor = target.partition("#")
        there = (page.parent / name).resolve() if name else page
        if not there.exists() or (anchor and anchor not in anchors(there)):
            broken.append(target)
    assert broken == []


@functools.cache
def known() -> dict[str, set[str]]:
    """Group or section -> every key that one of its options has."""
    keys: dict[str, set[str]] = {}
    for row in re.findall(r"^\| `(\w+)\.(\w+)`", make_reference().reference(), re.MULTILINE):
        keys.setdefault(row[0], set()).add(row[1])
    return keys


def wrong(word: str, keys: dict[str, set[str]]) -> str:
    """Why `key=value` is no option of sleepy's; "" if it is one."""
    key, _, value = word.partition("=")
    first, _, rest = key.removeprefix("+").partition(".")
    if key.startswith("hydra.launcher."):  # Hydra refuses a wrong one when the line is composed
        return ""
    if rest:
        return "" if rest.split(".")[0] in keys.get(first, set()) else f"{key}: no such key"
    if first in (*GROUPS, "experiment"):
        files = {path.stem for path in (CONF / first).glob("*.yaml")}
        given = [v for v in re.split(r"[,|]", value) if re.fullmatch(r"[\w.-]+", v)]
        return "; ".join(f"{first}={v}: no such option" for v in given if v not in files)
    return "" if first in Settings.__dataclass_fields__ or first in _SHORT else f"{key}: no such key"


@pytest.mark.parametrize("page", CURRENT, ids=lambda page: str(page.relative_to(ROOT)))
def test_pages_name_options_that_exist(page: Path) -> None:
    """In code, a word such as algo=ewc or lora.r=8, and a key such as `gate.koans` alone, is one of sleepy's."""
    text, keys = page.read_text(encoding="utf-8"), known()
    code = re.findall(r"^ +.*run\.py .+$", text, re.MULTILINE) + re.findall(r"`([^`\n]+)`", text)
    words = [w for line in code for w in re.findall(r"(?<![^\s'\"])\+?[a-z_]+(?:\.[a-z_0-9]+)*=[^\s'\"]*", line)]
    key = rf"(?:{'|'.join((*GROUPS, *SECTIONS))})\.(?!(?:md|json|db|diff)$)[a-z_]+"
    lone = [w for w in code if re.fullmatch(key, w)]
    said = {wrong(word, keys) for word in (*words, *lone) if word not in _TAGS}
    assert sorted(said - _EXAMPLE - {""}) == []


def test_a_word_that_is_no_option_is_named() -> None:
    keys = known()
    assert wrong("evaluate.adapter=hot", keys) and wrong("algo=nothing", keys) and wrong("engine.pull", keys)
    assert not wrong("lora.r=8,16", keys) and not wrong("+experiment=smoke", keys)


def test_every_option_of_a_group_is_in_the_reference() -> None:
    text = make_reference().reference()
    config: Any = yaml.safe_load((CONF / "config.yaml").read_text(encoding="utf-8"))
    assert all(f"`{group}={path.stem}`" in text for group in GROUPS for path in (CONF / group).glob("*.yaml"))
    assert all(f"`{section}.{key}`" in text for section in SECTIONS for key in config[section])


def shell_lines(page: Path) -> list[str]:
    """The commands of a page: the lines of its blocks, continued ones joined, and what stands in backticks."""
    text = re.sub(r"^```[a-z]+\n.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    blocks = re.findall(r"^ {4,}(.+)$", text.replace("\\\n", " "), re.MULTILINE)
    first = r"(?:python|bash|make|mlflow|ollama|vllm|llama-\w+|\.venv/\S+|[A-Z_]+=\S+ \.venv/\S+) "
    return [re.sub(" +", " ", line) for line in blocks + re.findall(r"`([^`\n]+)`", text) if re.match(first, line)]


def unquoted(line: str) -> str:
    """What zsh or bash would not pass on as it stands: globs, tildes, history and comments outside of quotes."""
    bare = re.sub(r"'[^']*'", "", line)
    bare = re.sub(r'"[^"!$`]*"', "", bare)
    return "".join(sorted(set(re.findall(r"[][~!(){}*?<>#$;\"']|(?<=\s)=", bare))))


def jobs_of(words: list[str]) -> list[list[str]]:
    """The overrides of each job of a command line."""
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
    from hydra.core.override_parser.overrides_parser import OverridesParser

    given = [meant(_fill(word)) for word in words if word not in ("-m", "--cfg", "job")]
    if "-m" not in words:
        return [given]
    parsed = OverridesParser.create().parse_overrides(given)
    return [list(job) for batch in BasicSweeper.split_arguments(parsed, None) for job in batch]


def _fill(word: str) -> str:
    key, _, value = word.partition("=")
    return f"{key}={_FILLED_IN[value]}" if value in _FILLED_IN else word


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_can_be_typed_in_zsh_as_they_stand(page: Path) -> None:
    """zsh, the shell of a Mac, takes brackets for globs, and "#" at a prompt for a word like any other."""
    assert {line: found for line in shell_lines(page) if (found := unquoted(line))} == {}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_compose(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What `python run.py` is given in README and docs is a config without a problem, each job of a sweep included."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "docs").symlink_to(ROOT / "docs")
    (tmp_path / "mine.jsonl").write_text("")
    (tmp_path / "my.yaml").write_text("- {code: E0382, advice: Clone it.}")
    lines = [line.split("run.py", 1)[1].split("&&")[0] for line in shell_lines(page) if "run.py" in line]
    for line in lines:
        if not _NOT_COMPOSED.search(line):
            for job in jobs_of(shlex.split(line)):
                compose(tuple(job))


@functools.cache
def compose(job: tuple[str, ...]) -> None:
    """Raises what a job would be refused with; what several pages name is composed once."""
    settings(composed(*job))


def test_what_a_shell_would_change_is_seen() -> None:
    words = ("stages=[fetch]", "file=~/a.rs", "x=a!", "a # b", "=ls")
    assert [unquoted(f"python run.py {word}") for word in words] == [
        "[]", "~", "!", "#", "=",
    ]  # fmt: skip
    assert unquoted("python run.py -m 'stages=[fetch]' lora.r=8,16 \"tasks.path=a b\"") == ""
    assert len([line for page in CURRENT for line in shell_lines(page) if "run.py" in line]) > 60
    assert len(jobs_of(["-m", "lora.r=8,16", "algo=naive,replay"])) == 4
    with pytest.raises(Exception, match="stepz"):
        composed("train.stepz=1")
