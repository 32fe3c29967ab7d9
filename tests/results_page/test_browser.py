"""What the page does, in a real browser without a window."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sleepy.artifacts import Check, CheckJob, Diagnostic
from sleepy.results_page.page import results_page
from tests.results_page.browser import NAMES, PROGRAM, Browser
from tests.results_page.made import exam, sweep

pytestmark = pytest.mark.skipif(PROGRAM is None, reason=f"no browser: none of {', '.join(NAMES)} is installed")

LABELS = "[...document.querySelectorAll('#rows tbody:not([hidden])')].map(b => b.dataset.label)"
KOANS = (
    "[...document.querySelectorAll('#matrix tr:not([hidden]) > td[data-place=\"1\"]')].map(c => Number(c.dataset.koan))"
)
BEST_FIRST = [f"algo={algo} train.lr={rate}" for algo in ("replay", "naive") for rate in ("0.0001", "0.001")]


def judge(job: CheckJob) -> Check:
    """A message that is known again."""
    return Check("compile", "", (Diagnostic("E0382", "", (), (), f"error[E0382]: {len(job.program)} letters"),))


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, tasks = tmp_path_factory.mktemp("page"), exam(24)
    target = folder / "results.html"
    made = results_page("a sweep", sweep(folder), {tasks.digest: {t.id: t for t in tasks}}, judge)
    target.write_text(made.html, encoding="utf-8")
    return target


@pytest.fixture
def browser(page: Path, tmp_path: Path) -> Iterator[Browser]:
    """The page in a browser; afterwards it has asked for nothing but itself, and nothing was refused or went wrong."""
    opened = Browser(page, tmp_path / "profile")
    try:
        yield opened
        assert (opened.requests, opened.complaints) == ([page.as_uri()], [])
    finally:
        opened.close()


def heading(name: str) -> str:
    return f"[...document.querySelectorAll('#rows thead th')].find(h => h.textContent === '{name}')"


def test_a_heading_sorts_by_numbers_and_by_words(browser: Browser) -> None:
    assert browser.run(LABELS) == BEST_FIRST
    browser.run(f"{heading('difference')}.querySelector('button').click()")
    assert browser.run(LABELS) == BEST_FIRST[::-1]
    assert browser.run(f"{heading('difference')}.getAttribute('aria-sort')") == "ascending"
    browser.run(f"{heading('algo')}.querySelector('button').click()")
    assert [label.split()[0] for label in browser.run(LABELS)] == ["algo=naive"] * 2 + ["algo=replay"] * 2
    browser.run(f"{heading('train.lr')}.querySelector('button').click()")
    browser.run(f"{heading('train.lr')}.querySelector('button').click()")
    assert [label.split()[1] for label in browser.run(LABELS)] == ["train.lr=0.001"] * 2 + ["train.lr=0.0001"] * 2
    assert browser.run(f"{heading('algo')}.getAttribute('aria-sort')") == "none"


def test_rows_are_filtered_by_words_and_by_axes(browser: Browser) -> None:
    type_in = "(i => {{ i.value = '{}'; i.dispatchEvent(new Event('input')); }})(document.getElementById('find'))"
    browser.run(type_in.format("NAIVE 0.0001"))
    assert browser.run(LABELS) == ["algo=naive train.lr=0.0001"]
    assert browser.run("count.textContent") == "1 of 4 rows"
    browser.run(type_in.format(""))
    choose = "(s => { s.value = 'replay'; s.dispatchEvent(new Event('change')); })"
    browser.run(f"{choose}(document.querySelector('#table select[data-axis=\"0\"]'))")
    assert browser.run(LABELS) == BEST_FIRST[:2]


def test_a_row_unfolds_how_it_was_made(browser: Browser) -> None:
    made = "document.getElementById('made-1')"
    assert browser.run(f"{made}.offsetHeight") == 0
    browser.run("document.querySelectorAll('.unfold')[1].click()")
    assert browser.run(f"{made}.offsetHeight") > 50
    assert "python run.py algo=replay train.lr=0.001 seed=2" in browser.run(f"{made}.innerText")
    assert browser.run("document.querySelectorAll('.unfold')[1].getAttribute('aria-expanded')") == "true"


def test_koans_are_filtered(browser: Browser) -> None:
    assert browser.run(KOANS) == list(range(24))
    choose = "which.value = '{}'; which.dispatchEvent(new Event('change'))"
    browser.run(choose.format("lost"))
    lost = browser.run(KOANS)
    assert lost and all(i % 4 == 0 for i in lost)  # only those passed before
    browser.run(choose.format("gained"))
    gained = browser.run(KOANS)
    assert gained and not set(gained) & set(lost)
    browser.run(choose.format("changed"))
    assert browser.run(KOANS) == sorted(lost + gained)
    assert browser.run("document.getElementById('koan-count').textContent") == f"{len(lost + gained)} of 24 koans"
    browser.run(choose.format("all"))
    browser.run("family.value = 'lifetimes'; family.dispatchEvent(new Event('change'))")
    assert browser.run(KOANS) == [i for i, task in enumerate(exam(24)) if task.family == "lifetimes"]
    assert browser.run("document.querySelectorAll('#matrix .family:not([hidden])').length") == 1


def test_a_click_shows_program_answers_and_the_compilers_words(browser: Browser) -> None:
    task = exam(24).tasks[5]
    browser.run('document.querySelector(\'#matrix td[data-koan="5"][data-place="2"]\').click()')
    browser.wait("document.getElementById('koan').open")
    assert browser.run("document.getElementById('koan-name').textContent") == task.id
    programs = "[...document.querySelectorAll('#koan .program')].map(p => [...p.children].map(s => s.textContent))"
    broken, before, answer = browser.run(programs)
    assert broken == before == [line or " " for line in task.broken.rstrip().split("\n")]
    assert answer != broken and answer[: len(broken)] == broken
    ended = browser.run("[...document.querySelectorAll('#koan .ended')].map(p => p.textContent)")
    assert ended[:2] == ["does not compile", "does not compile E0382"]
    said = browser.run("document.querySelector('#koan article:nth-child(2) .message').textContent")
    assert said == f"error[E0382]: {len(task.broken)} letters"
    fix = "s => { s.value = 'fix'; s.dispatchEvent(new Event('change')); }"
    browser.run(f"({fix})(document.querySelector('#koan article:nth-child(3) select'))")
    assert browser.run(programs)[2] == [line or " " for line in task.fix.rstrip().split("\n")]
    marked = browser.run("[...document.querySelectorAll('#koan article:nth-child(3) .added')].map(s => s.textContent)")
    assert marked and not set(marked) & set(broken)
    browser.run("later.click()")
    assert browser.run("document.getElementById('koan-name').textContent") == exam(24).tasks[6].id


def test_the_matrix_is_used_by_keyboard(browser: Browser) -> None:
    focused = "[document.activeElement.dataset.koan, document.activeElement.dataset.place].join()"
    browser.run("document.querySelector('#matrix td[tabindex=\"0\"]').focus()")
    assert browser.run(focused) == "0,0"
    browser.press("ArrowDown", "ArrowRight", "ArrowRight")
    assert browser.run(focused) == "1,2"
    assert exam(24).tasks[1].id in browser.run("where.textContent")
    assert browser.run("document.querySelectorAll('#matrix td[tabindex=\"0\"]').length") == 1
    browser.press("Enter")
    browser.wait("document.getElementById('koan').open")
    browser.press("Escape")
    browser.wait("!document.getElementById('koan').open")
    assert browser.run(focused) == "1,2"


def test_a_narrow_window_scrolls_its_parts_and_not_the_page(browser: Browser) -> None:
    browser.call("Emulation.setDeviceMetricsOverride", width=420, height=900, deviceScaleFactor=1, mobile=True)
    assert browser.run("[innerWidth, document.documentElement.scrollWidth]") == [420, 420]
    assert browser.run("document.querySelector('.scroll:has(#rows)').scrollWidth") > 420


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_words_can_be_read_in_either_scheme(browser: Browser, scheme: str) -> None:
    """Contrast of at least 4.5 to 1 (WCAG 2.2, 1.4.3)."""
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.call("Emulation.setEmulatedMedia", features=features)
    script = """
    (() => {
      const light = rgb => rgb.match(/[\\d.]+/g).slice(0, 3).map(v => v / 255)
        .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
        .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
      const paper = light(getComputedStyle(document.body).backgroundColor);
      return [...document.querySelectorAll('h1, .lead, .about, td, th, label, output, footer, svg text')].map(e => {
        const style = getComputedStyle(e), ink = light(e.ownerSVGElement ? style.fill : style.color);
        return (Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05);
      });
    })()"""
    contrasts = browser.run(script)
    assert len(contrasts) > 100 and min(contrasts) >= 4.5
