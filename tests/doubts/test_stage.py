"""The stages doubts and repair, on a tiny model: the pages that they leave."""

from __future__ import annotations

import re
from collections.abc import Callable
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from sleepy.errors import ConfigError
from tests.jobs import artifacts

Job = Callable[..., Any]
SEARCH = ["repair=search", "repair.candidates=3", "repair.suggestions=false", "repair.rustfix_first=false"]
MINE = 'pub fn f() -> u32 { "</code><script>é" }\n'


def source(page: str) -> str:
    """The program that a page shows."""
    code = page.partition("<code>")[2].partition("</code>")[0]
    return unescape(re.sub("<[^>]+>", "", code))


def test_a_koan_and_its_doubts(run: Job, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    koan = "type_mismatch/savings_plan"
    found = run("stages=[doubts]", "tasks=koans_val", "tasks.per_level=0", *SEARCH, f"file={koan}")
    page = (artifacts(found) / "doubts.html").read_text(encoding="utf-8")
    assert "3 answers tried, none compiles" in capsys.readouterr().err and "3 answers tried, none compiles" in page
    assert f"<title>{koan}: where the model doubts</title>" in page and "error[E0689]" in unescape(page)
    assert source(page).startswith("pub fn") and page.count("<tr>") == 1 + 12
    doubts = re.findall(r'<mark class="d[0-5][^"]*"(?: tabindex="0")? title="', page)
    assert len(doubts) > len(source(page)) / 2  # tokens of the tiny model are bytes
    assert page.count("<section") <= 3 and not (tmp_path / "doubts").exists()


def test_repair_by_search_leaves_a_page_about_each_file(
    run: Job, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.rs").write_text(MINE, encoding="utf-8")
    found = run("stages=[repair]", *SEARCH, "file=mine.rs")
    shown = capsys.readouterr().err
    assert "mine.rs: 3 answers tried, none compiles" in shown and "repair=multi_turn" not in shown
    page = (artifacts(found) / "doubts" / "mine.rs.html").read_text(encoding="utf-8")
    assert source(page) == MINE.rstrip("\n") and "<script" not in page and "hidden tests" not in page
    found = run("stages=[repair]", "file=mine.rs")  # asks once, and reads no doubts
    assert not (artifacts(found) / "doubts").exists() and "(repair=multi_turn" in capsys.readouterr().err


def test_what_compiles_has_no_page(run: Job, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.rs").write_text("pub fn f() {}\n")
    found = run("stages=[doubts]", *SEARCH, "file=mine.rs")
    assert "mine.rs compiles: there is nothing to repair" in capsys.readouterr().err
    assert not (artifacts(found) / "doubts.html").exists()


@pytest.mark.parametrize(("words", "said"), [
    (["file=no/such"], "neither a file nor one of the 3 koans"),
    (["file=a.rs", "write=true"], "only used by the stages repair"),
    (["file=a.rs", "engine=openai"], "which engine=openai does not tell"),
    (["file=a.rs", "repair=rustfix"], "repair=rustfix asks no model"),
])  # fmt: skip
def test_what_cannot_be_shown_is_said_before_anything_is_loaded(
    run: Job, words: list[str], said: str, tmp_path: Path
) -> None:
    (tmp_path / "a.rs").write_text(MINE, encoding="utf-8")
    with pytest.raises(ConfigError, match=said):
        run("stages=[doubts]", *words)
    assert not (tmp_path / "mlruns").exists()
