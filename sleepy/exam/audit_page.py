"""The audit as pages for a person: a line for each family and level, and every program beside its fix."""

from __future__ import annotations

import difflib
import html
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from sleepy.artifacts import TaskSet
from sleepy.errors import DataError
from sleepy.exam.audit import Audited, Finding, Near
from sleepy.files import write_text
from sleepy.tables import markdown_table

_STYLE = """body{font:15px/1.5 system-ui,sans-serif;margin:2em auto;max-width:90em;padding:0 1em;color:#222}
table.figures{border-collapse:collapse}table.figures td,table.figures th{border-bottom:1px solid #ddd;padding:.2em .7em;
text-align:left}pre{margin:0;white-space:pre-wrap;font:13px/1.45 ui-monospace,monospace}.sides{display:grid;
grid-template-columns:1fr 1fr;gap:1em;background:#f6f7f9;padding:.8em;border-radius:6px}.cut{background:#ffd9d6}
.new{background:#cdf1d3}h3{margin:1.6em 0 .2em}.about{color:#666;margin:.2em 0 .6em}summary{cursor:pointer}
.wrong{color:#b00020}"""
_HEAD = (
    "family", "level", "tasks", "lines", "codes", "cheats tried", "caught", "mutants", "noticed", "nearest koan",
    "nearest pair",
)  # fmt: skip


def write_audit(folder: Path, tasks: TaskSet, rows: Sequence[Audited], findings: Sequence[Finding]) -> Path:
    """Print a line for each family and level, and write audit.html: the same, and every task with its broken program
    and its fix side by side. Raises DataError with every finding, after the page is written."""
    title = f"Audit of {tasks.name} (version {tasks.version or '-'}, digest {tasks.digest[:12]})"
    lines = list(_lines(rows, findings))
    print(f"# {title}\n\n{markdown_table(_HEAD, lines)}")
    page = folder / "audit.html"
    write_text(page, _page(title, lines, rows, findings))
    if findings:
        raise DataError(
            f"the audit found {len(findings)} problems ({page}):\n"
            + "\n".join(f"  {f.task}: {f.problem}" for f in findings)
        )
    return page


def _lines(rows: Sequence[Audited], findings: Sequence[Finding]) -> Iterator[list[str]]:
    passed = Counter(f.task for f in findings if f.problem.startswith("its tests pass on a cheat"))
    for family in dict.fromkeys(r.task.family for r in rows):
        for level in sorted({r.task.level for r in rows if r.task.family == family}):
            group = [r for r in rows if (r.task.family, r.task.level) == (family, level)]
            sizes = [len(r.task.broken.splitlines()) for r in group]
            codes = Counter(r.task.code for r in group)
            cheats, mutants = sum(r.cheats for r in group), sum(r.mutants for r in group)
            yield [
                family,
                str(level),
                str(len(group)),
                f"{min(sizes)}-{max(sizes)}",
                " ".join(f"{c}x{n}" if n > 1 else c for c, n in codes.most_common()),
                str(cheats),
                str(cheats - sum(passed[r.task.id] for r in group)),
                str(mutants),
                str(mutants - sum(len(r.survivors) for r in group)),
                f"{max(r.koan.similarity for r in group):.2f}",
                f"{max(r.pair.similarity for r in group):.2f}",
            ]


def _page(title: str, lines: Sequence[list[str]], rows: Sequence[Audited], findings: Sequence[Finding]) -> str:
    head = "".join(f"<th>{cell}</th>" for cell in _HEAD)
    body = "".join("<tr>" + "".join(f"<td>{html.escape(c)}</td>" for c in line) + "</tr>\n" for line in lines)
    wrong = "".join(f"<li>{html.escape(f'{f.task}: {f.problem}')}</li>" for f in findings)
    found = f'<ul class="wrong">{wrong}</ul>' if wrong else "<p>Nothing was found wrong.</p>"
    return (
        f"<!doctype html><meta charset=utf-8><title>{html.escape(title)}</title><style>{_STYLE}</style>\n"
        f"<h1>{html.escape(title)}</h1>\n{found}\n<table class=figures><tr>{head}</tr>\n{body}</table>\n"
        + "".join(_task(row) for row in rows)
    )


def _task(row: Audited) -> str:
    task = row.task
    broken, fix = _sides(task.broken.rstrip("\n").split("\n"), task.fix.rstrip("\n").split("\n"))
    tests = "\n\n".join(html.escape(block) for block in task.tests)
    said = "\n".join(d.rendered for d in row.broken.diagnostics)
    missed = f" (not noticed: {html.escape('; '.join(row.survivors))})" if row.survivors else ""
    return (
        f'<h3 id="{html.escape(task.id)}">{html.escape(task.id)}</h3>\n<p class=about>{html.escape(task.description)} '
        f"<br>{task.pattern}, level {task.level}, {html.escape(task.code)}, edition {task.edition}; "
        f"{row.cheats} cheats; {row.mutants} mutants{missed}; nearest koan {_near(row.koan)}, "
        f"nearest pair {_near(row.pair)}</p>\n"
        f"<div class=sides><pre>{broken}</pre><pre>{fix}</pre></div>\n"
        f"<details><summary>tests and rustc's message</summary><pre>{tests}\n\n{html.escape(said)}</pre></details>\n"
    )


def _near(near: Near) -> str:
    return f"{html.escape(near.task)} {near.similarity:.2f} ({near.kind})" if near.task else "none"


def _sides(broken: Sequence[str], fix: Sequence[str]) -> tuple[str, str]:
    """Both programs as HTML, changed lines marked and aligned."""
    left: list[str] = []
    right: list[str] = []
    for kind, a, b, c, d in difflib.SequenceMatcher(None, broken, fix, autojunk=False).get_opcodes():
        for i in range(max(b - a, d - c)):
            left.append(_line(broken[a + i], "cut", kind) if a + i < b else "")
            right.append(_line(fix[c + i], "new", kind) if c + i < d else "")
    return "\n".join(left), "\n".join(right)


def _line(text: str, mark: str, kind: str) -> str:
    safe = html.escape(text) or " "
    return safe if kind == "equal" else f"<span class={mark}>{safe}</span>"
