"""The page of doubts: what it shows, that nothing in it is taken for HTML, and that its colours can be read."""

from __future__ import annotations

import base64
import hashlib
import math
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from sleepy.artifacts import Check, Departure, Task
from sleepy.doubts._style import DARK, LIGHT
from sleepy.doubts.doubts import Doubts, tried
from sleepy.doubts.page import page
from sleepy.doubts.strip import pieces
from sleepy.repair.best_of_n import BestOfN
from sleepy.repair.search import Search
from sleepy.results import Attempt, Result


class Read(HTMLParser):
    """A page as a browser would take it apart."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {}
        self._open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "link", "br"):
            self._open.append(tag)
            self.texts.setdefault(tag, []).append("")

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        for tag in set(self._open):
            self.texts[tag][-1] += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def departure(program: str, own: str, token: str, share: float) -> Departure:
    """The program left before its first `own`."""
    return Departure(program[: program.index(own)], token, math.log(share), -1.0, own)


def attempt(program: str, stage: str, signature: str = "") -> Attempt:
    return Attempt(program, program, stage, (), 1, 1, 0.1, signature)


@pytest.fixture
def doubts(koan: Task) -> Doubts:
    """A program full of HTML, two departures at one place, and four answers: unchanged, wrong, right, right again."""
    broken = koan.broken + '// </code><script>alert("1 & 2")</script>\n'
    task = replace(koan, id="a/<b>", broken=broken, description='says "<i>hello</i>"')
    left = [departure(broken, "Vec<", "&", 0.3), departure(broken, "Vec<", "<img src=x>", 0.25)]
    left.append(departure(broken, "\n}\n\n", ";", 0.02))
    wrong, right = broken.replace("total(words);", "gone(<u>);"), koan.fix
    answers = (
        attempt(broken, "compile", "E0382 use of moved value: _"), attempt(wrong, "compile", "E0425 <script>"),
        attempt(right, "passed"), attempt(right, "passed"),
    )  # fmt: skip
    result = Result(task.id, task.family, task.pattern, 1, True, answers, 2, (False, False, True, True))
    said = tried(Search(rank="chance"), task, result)
    return Doubts("<model>", task, broken, Check("compile", "<em>no</em>"), tuple(left), result, said)


def test_nothing_of_a_program_or_a_model_is_taken_for_html(doubts: Doubts) -> None:
    read = Read(page(doubts))
    assert {tag for tag, _ in read.tags} == set(
        "html head meta title style body main h1 h2 h3 p ul li mark div pre code details summary table caption thead "
        "tbody tr th td section span a i".split()
    )
    names = {name for _, attributes in read.tags for name in attributes}
    assert not names & {"style", "src"} and not any(name.startswith("on") for name in names)
    assert all(str(link["href"]).startswith("#") for link in read.all("a"))
    assert '</code><script>alert("1 & 2")</script>' in read.texts["code"][0] and "<b>" in read.texts["h1"][0]


def test_a_token_and_what_is_written_instead_are_escaped_everywhere(doubts: Doubts) -> None:
    broken = doubts.program
    left = departure(broken, "</code><script>", '"><img src=x onerror=y>', 0.4)
    read = Read(page(replace(doubts, departures=(left,))))
    (mark,) = [m for m in read.all("mark") if "title" in m]
    assert set(mark) == {"class", "tabindex", "title"} and read.texts["code"][0] == broken.rstrip("\n")
    assert mark["title"] == ('line 9, instead of </code><script>: something else 40 % ("><img␣src=x␣onerror=y> 40 %)')
    assert not {"script", "img"} & {tag for tag, _ in read.tags} and '"><img␣src=x␣onerror=y>' in read.texts["td"]


def test_the_policy_allows_the_pages_own_style_and_nothing_else(doubts: Doubts) -> None:
    read = Read(page(doubts))
    (policy,) = [m["content"] for m in read.all("meta") if m.get("http-equiv") == "Content-Security-Policy"]
    digest = base64.b64encode(hashlib.sha256(read.texts["style"][0].encode()).digest()).decode()
    rules = dict(rule.strip().split(" ", 1) for rule in str(policy).split(";"))
    assert rules == {
        "default-src": "'none'", "style-src": f"'sha256-{digest}'", "base-uri": "'none'", "form-action": "'none'"
    }  # fmt: skip


def test_the_source_is_whole_and_a_doubt_is_where_it_belongs(doubts: Doubts) -> None:
    read = Read(page(doubts))
    assert read.texts["code"][0] == doubts.program.rstrip("\n")
    mark, ends = [m for m in read.all("mark") if "title" in m]
    assert mark["class"] == "d5" and mark["tabindex"] == "0" and ends["class"] == "d1"
    assert page(doubts).count('<i class="end"></i>\n') == 3
    assert mark["title"] == "line 1, instead of Vec<: something else 55 % (& 30 %, <img␣src=x> 25 %)"
    rows = read.texts["td"]
    assert rows[12:16] == ["2 %", "2", "…).map(|w| w.len()).sum()", "↵}↵↵"] and ends["title"].startswith(
        "line 2, instead of ↵}↵↵"
    )
    assert rows[:6] == ["30 %", "1", "pub fn total(words:", "Vec<", "&", "answer 3"]


def test_every_answer_is_shown_once_with_the_compilers_word(doubts: Doubts) -> None:
    read = Read(page(doubts))
    heads = read.texts["h3"]
    assert heads == [
        "Answers 3, 4: ✓ compiles, and the hidden tests pass chosen", "Answer 1: ✗ E0382 use of moved value: _",
        "Answer 2: ✗ E0425 <script>",
    ]  # fmt: skip
    assert [s["class"] for s in read.all("section")] == ["card chosen", "card", "card"]
    assert "unchanged" in read.texts["section"][1] and "+    let n = total(&words);" in read.texts["section"][0]


def test_a_departure_leads_to_the_answer_that_begins_with_it(doubts: Doubts) -> None:
    broken = doubts.program
    led = departure(broken, "Vec<", "&[String]) -> usize", 0.2)
    within = Departure("", "}", math.log(0.3), 0.0, "pub")
    read = Read(page(replace(doubts, departures=(led, within))))
    assert [link["href"] for link in read.all("a")] == ["#answer3"]


@pytest.mark.parametrize(("stage", "said"), [("test", "but the hidden tests fail"), ("passed", "✓ compiles")])
def test_without_hidden_tests_nothing_is_said_of_them(doubts: Doubts, stage: str, said: str) -> None:
    one = replace(doubts.result, attempts=(attempt("fn f() {}\n", stage),), chosen=0)
    task = replace(doubts.task, tests=() if stage == "passed" else doubts.task.tests)
    read = Read(page(replace(doubts, result=one, task=task)))
    assert said in read.texts["h3"][0] and ("hidden tests" in "".join(read.texts["main"])) == bool(task.tests)


def test_what_the_compilers_suggestions_did_before_is_said(doubts: Doubts) -> None:
    shown = replace(doubts, program=doubts.task.fix, departures=())
    assert "suggestions" not in page(doubts) and "asked about what is left" in page(shown)
    enough = page(replace(shown, said=Check("passed", "")))
    assert "no model was asked" in enough and "<table>" not in enough
    assert Read(enough).texts["code"][0] == doubts.task.fix.rstrip("\n")


def test_pieces_are_the_program_whatever_the_departures() -> None:
    program = "fn f() -> u8 {\n    1\n}\n\n"
    at = [Departure(program[:n], "x", -2.0 - n, 0.0, program[n : n + 3]) for n in (3, 4, 9, len(program) - 2)]
    other = Departure("fn g", "y", -1.0, 0.0, "(")
    found = pieces(program, [*at, other, Departure(program[:3], "z", -0.5, 0.0, "f()")])
    assert "".join(p.text for p in found) == program.rstrip("\n")
    assert [(p.text, [o.token for o in p.others]) for p in found if p.others] == [
        ("f", ["z", "x"]), ("() ", ["x"]), (" u8"[:3], ["x"]), ("", ["x"])
    ]  # fmt: skip
    assert found[1].doubt == pytest.approx(math.exp(-0.5) + math.exp(-5.0)) and pieces("a\n", [])[0].text == "a"


def test_what_was_tried_is_said_in_words(koan: Task, doubts: Doubts) -> None:
    def said(strategy: Search | BestOfN, *programs: tuple[str, str]) -> str:
        answers = tuple(attempt(program, stage) for program, stage in programs)
        return tried(strategy, koan, replace(doubts.result, attempts=answers, chosen=0))

    bad, good, less = (koan.broken, "compile"), (koan.fix, "passed"), ("pub fn f() {}\n", "test")
    assert said(Search(), bad) == "1 answer tried, none compiles"
    assert said(Search(), bad, good) == "2 answers tried, 1 compiles"
    assert said(Search(rank="chance"), good, good, bad) == "3 answers tried, 2 compile; the likeliest of them counts"
    assert said(Search(), good, less).endswith("; the smallest edit of those that take nothing out counts")
    assert said(Search(careful=False), good, less).endswith("; the smallest edit of them counts")
    assert said(BestOfN(), good, good).endswith("; answer 1 counts")


@pytest.mark.parametrize("colours", [LIGHT, DARK], ids=["light", "dark"])
def test_every_text_has_enough_contrast(colours: dict[str, str]) -> None:
    """WCAG 2.2, 1.4.3: at least 4.5 to 1; the levels of doubt differ in lightness, each from the one before."""

    def light(name: str) -> float:
        parts = [int(colours[name][i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    def contrast(a: str, b: str) -> float:
        high, low = sorted((light(a), light(b)), reverse=True)
        return (high + 0.05) / (low + 0.05)

    texts = [(ink, paper) for ink in ("ink", "soft", "link", "good", "bad") for paper in ("paper", "card")]
    texts += [("ink", paper) for paper in ("d1", "d2", "d3", "d4", "new", "cut")] + [("hot", "d5"), ("paper", "good")]
    assert {pair: round(contrast(*pair), 2) for pair in texts if contrast(*pair) < 4.5} == {}
    steps = [light(name) for name in ("card", "d1", "d2", "d3", "d4", "d5")]
    assert steps == sorted(steps, reverse=colours is LIGHT)


def test_the_style_sheet_has_every_class(doubts: Doubts) -> None:
    text = page(doubts)
    used = {name for found in re.findall(r'class="([^"]+)"', text) for name in found.split()} - {"d0", "soft"}
    assert {name for name in used if f".{name}" not in text.partition("</style>")[0]} == set()
