"""The page as a file: what it may do, what it holds, and how large it gets. What it does is in test_browser.py."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from sleepy.artifacts import Check, CheckJob, Diagnostic
from sleepy.results_page.jobs import Found
from sleepy.results_page.page import Page, results_page
from sleepy.sandbox.checker import Checker
from tests.results_page.made import exam, job, scores, sweep

MEGABYTE = 1_000_000
EVIL = 'fn main() { println!("</script><script>alert(1)</script><!-- & <img src=x onerror=alert(2)>"); }'


class Reader(HTMLParser):
    """Every element with its attributes, and the text in each script and style."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements, self.blocks = list[tuple[str, dict[str, str | None]]](), list[tuple[dict[str, Any], str]]()
        self._open: dict[str, Any] | None = None
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag in ("script", "style"):
            self._open = {"tag": tag, **dict(attrs)}
            self.blocks.append((self._open, ""))

    def handle_endtag(self, tag: str) -> None:
        if tag in ("script", "style"):
            self._open = None

    def handle_data(self, data: str) -> None:
        if self._open is not None:
            attributes, text = self.blocks[-1]
            self.blocks[-1] = attributes, text + data

    def data(self, name: str) -> Any:
        (text,) = [text for attributes, text in self.blocks if attributes.get("id") == name]
        return json.loads(text)

    def more(self) -> Any:
        return json.loads(gzip.decompress(base64.b64decode(self.data("more"))))


def unknown(job: CheckJob) -> Check | None:
    return None


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Page:
    tasks = exam(24)
    return results_page("a sweep", sweep(tmp_path_factory.mktemp("sweep")), {tasks.digest: by_id(tasks)}, unknown)


def by_id(tasks: Any) -> dict[str, Any]:
    return {task.id: task for task in tasks}


def test_only_its_own_script_and_style_may_run(page: Page) -> None:
    read = Reader(page.html)
    (policy,) = [a["content"] for t, a in read.elements if t == "meta" and a.get("http-equiv")]
    assert policy and "default-src 'none'" in policy and "unsafe" not in policy
    for attributes, text in read.blocks:
        if attributes.get("type") != "application/json":
            digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
            assert f"{attributes['tag']}-src 'sha256-{digest}'" in policy


def test_it_names_no_other_place_and_has_nothing_that_the_policy_forbids(page: Page) -> None:
    for tag, attributes in Reader(page.html).elements:
        assert tag not in ("link", "img", "iframe", "base", "form", "object")
        assert not {name for name in attributes if name == "style" or name == "src" or name.startswith("on")}, tag
        assert str(attributes.get("href", "#")).startswith("#")
    urls = set(re.findall(r"https?://[^\s\"'<)]+", page.html))
    assert urls <= {"http://www.w3.org/2000/svg"}


def test_ids_are_unique_and_every_reference_has_one(page: Page) -> None:
    elements = Reader(page.html).elements
    ids = [str(a["id"]) for _, a in elements if "id" in a]
    assert len(ids) == len(set(ids))
    for _, a in elements:
        for name in ("aria-labelledby", "aria-controls"):
            assert str(a.get(name, ids[0])) in ids
        assert str(a.get("href", f"#{ids[0]}"))[1:] in ids
        assert all(name in ids for name in re.findall(r"url\(#(.+?)\)", str(a.get("clip-path", ""))))


def test_pictures_take_their_colours_from_the_page(page: Page) -> None:
    drawn = re.findall(r"<svg.*?</svg>", page.html, re.DOTALL)
    assert len(drawn) == 3 and all('role="img"' in svg and "aria-label=" in svg for svg in drawn)
    (style,) = [text for attributes, text in Reader(page.html).blocks if attributes["tag"] == "style"]
    rules = re.findall(r"\.s\d+\{(.*?)\}", style)
    assert any("var(--blue)" in rule for rule in rules)
    assert not [rule for rule in rules if re.search("#[0-9a-f]{6}", rule)]
    assert "prefers-color-scheme:dark" in style


def test_a_program_cannot_end_the_script_it_is_in(tmp_path: Path) -> None:
    tasks = exam(3)
    evil = replace(tasks.tasks[0], broken=EVIL, description=EVIL, id=f"family/{EVIL}")
    tasks = replace(tasks, tasks=(evil, *tasks.tasks[1:]))
    before, after = scores(tasks, lambda i: False), scores(tasks, lambda i: i == 1)
    words = ["algo=<b>naive</b>", f"data.note={EVIL}"]
    found = Found((job(tmp_path, words, before, after), job(tmp_path, ["algo=sam"], before, after, number=2)), (EVIL,))
    read = Reader(results_page(EVIL, found, {tasks.digest: by_id(tasks)}, unknown).html)
    assert len([1 for tag, _ in read.elements if tag == "script"]) == 3
    assert not [tag for tag, _ in read.elements if tag in ("img", "b")]
    assert read.data("data")["koans"][0]["id"] == f"family/{EVIL}"
    assert EVIL in read.more()["texts"]


def test_every_koan_of_every_run_is_there(page: Page, tmp_path: Path) -> None:
    found, read = sweep(tmp_path), Reader(page.html)
    data, more = read.data("data"), read.more()
    assert data["columns"][0]["label"] == "untouched tiny" and len(data["columns"]) == 1 + 12
    by_number = {(f"algo={j.value('algo')} train.lr={j.value('train.lr')}", j.value("seed")): j for j in found.jobs}
    for number, column in enumerate(data["columns"][1:], 1):
        own = by_number[column["label"], column["seed"]].scores
        assert column["outcomes"] == "".join("fp"[r.passed] for r in own.results)
        for k, result in enumerate(own.results):
            program, ended, message, attempts = more["answers"][k][more["given"][k][number]]
            assert more["texts"][program] == result.attempts[-1].program
            assert ended == ("passed" if result.passed else "compile E0382") and attempts == 1
            assert more["texts"][message] == result.attempts[-1].signature  # without a compiler's word


def test_the_compilers_words_are_those_of_the_verdict(tmp_path: Path, checker: Checker) -> None:
    tasks = exam(2)
    found = Found((job(tmp_path, [], scores(tasks, lambda i: False), scores(tasks, lambda i: True)),))
    page = results_page("", found, {tasks.digest: by_id(tasks)}, lambda job: checker.check(*job))
    more = Reader(page.html).more()
    for k, task in enumerate(tasks):
        said = more["texts"][more["koans"][k][1]]
        assert said.startswith(f"error[{task.code}]") and "-->" in said
        assert [more["texts"][a[2]] for a in more["answers"][k]] == [said, ""]  # the broken program again, and the fix
    assert more["koans"][0][0] != more["koans"][1][0]


def test_51_jobs_by_159_koans_stay_under_2_megabytes(tmp_path: Path, checker: Checker) -> None:
    """Even where every answer of every job is another program with another message."""
    tasks = exam(159)
    messages = {
        t.broken: c.diagnostics for t, c in zip(tasks, checker.check_all([t.broken_job for t in tasks]), strict=True)
    }
    asked = list[str]()

    def judge(job: CheckJob) -> Check:
        """rustc's message for the broken program, with a place that is this answer's own."""
        asked.append(job.program)
        broken, number = job.program.split("// answer ")[0], job.program[-9:]
        said = messages[broken]
        return Check("compile", "", tuple(Diagnostic("", "", (), (), d.rendered + number) for d in said))

    before = scores(tasks, lambda i: i % 3 == 0)
    jobs = []
    for n in range(51):

        def answer(i: int, n: int = n) -> str:
            return f"{tasks.tasks[i].broken}// answer {n} of {i:03}, {n * 159 + i:09}"

        after = scores(tasks, lambda i, n=n: (i * 7 + n) % 11 == 0, answer)
        jobs.append(job(tmp_path, [f"data.patterns=[pattern_{n}]"], before, after, number=n + 1))
    page = results_page("51 adapters", Found(tuple(jobs)), {tasks.digest: by_id(tasks)}, judge)
    size = len(page.html.encode())
    assert len(Reader(page.html).more()["texts"]) > 7000 and len(asked) > 7000
    assert MEGABYTE / 4 < size < 2 * MEGABYTE


def test_streams_have_their_matrix_and_their_curve(tmp_path: Path) -> None:
    tasks = exam(8)
    before, after = scores(tasks, lambda i: False), scores(tasks, lambda i: i < 5)
    stream = {"steps": ["one", "two"], "matrix": [[0.5, 0.25], [0.25, 1.0]], "base": [0.0, 0.25], "acc": 0.625}
    stream |= {"bwt": -0.25, "fwt": 0.0}
    found = Found(
        tuple(job(tmp_path, [f"algo={a}"], before, after, stream=stream, number=n) for n, a in enumerate("xy"))
    )
    html = results_page("streams", found, {}, unknown).html
    cells = re.findall(r'<td class="h(\d+)">(\d+)</td>', html)
    assert cells == 2 * [("0", "0"), ("2", "25"), ("5", "50"), ("2", "25"), ("2", "25"), ("10", "100")]
    assert "ACC +62.5, BWT -25.0, FWT +0.0" in html and 'id="streams"' in html
    assert 'id="streams"' not in results_page("none", sweep(tmp_path), {}, unknown).html
