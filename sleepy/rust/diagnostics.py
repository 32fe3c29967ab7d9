"""rustc's JSON output, read into `Diagnostic`s."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from sleepy.artifacts import Diagnostic, Edit

STDIN, SHOWN_AS = "<anon>", "main.rs"  # what rustc calls a program that came on stdin, and what we call it


def parse_diagnostics(stderr: bytes) -> tuple[Diagnostic, ...]:
    """The errors (not warnings) among rustc's JSON lines, in order, without the closing summary."""
    return tuple(diagnostic(record) for record in errors(json_lines(stderr)))


def json_lines(output: bytes) -> Iterator[dict[str, Any]]:
    """The JSON objects among lines of output; one that was cut off, where a process was killed, is left out."""
    for line in output.splitlines():
        if line.startswith(b"{"):
            with contextlib.suppress(json.JSONDecodeError):
                yield json.loads(line)


def errors(records: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Those of rustc's messages that are errors and no summary."""
    for record in records:
        if record.get("level", "").startswith("error") and not record["message"].startswith("aborting due to"):
            yield record


def used(span: dict[str, Any], own: Callable[[str], bool]) -> dict[str, Any]:
    """The span itself, or for one inside a macro of elsewhere the place of its use in a file that is `own`."""
    while span.get("expansion") and not own(span["file_name"]):
        span = span["expansion"]["span"]
    return span


def diagnostic(record: dict[str, Any], source: str = STDIN) -> Diagnostic:
    """One of rustc's messages about the file that rustc calls `source`."""
    labels = []
    for span in sorted(record["spans"], key=lambda s: not s["is_primary"]):
        span = {**used(span, lambda name: name == source), "label": span["label"], "is_primary": span["is_primary"]}
        if span["file_name"] == source and (span["label"] or span["is_primary"]):
            labels.append((span["line_start"], span["label"] or ""))
    helps = tuple(_help(child, source) for child in record["children"] if child["level"] == "help")
    rendered = (record["rendered"] or "").replace(STDIN, SHOWN_AS)
    code = (record["code"] or {}).get("code", "")
    fixes = tuple(
        tuple(sorted(_edit(span) for span in spans))
        for child in record["children"]
        for spans in _suggestions(child)
        if all(span["file_name"] == source for span in spans)
    )
    return Diagnostic(code, record["message"], tuple(dict.fromkeys(labels)), helps, rendered, fixes)


def _edit(span: dict[str, Any]) -> Edit:
    return Edit(span["byte_start"], span["byte_end"], span["suggested_replacement"])


def _suggestions(child: dict[str, Any]) -> list[list[dict[str, Any]]]:
    """The places that each suggestion of a help changes. rustc lists those of alternatives one after the other without
    parting them: where one touches what is changed already, the next alternative begins."""
    found: list[list[dict[str, Any]]] = []
    for span in child["spans"]:
        if span["suggested_replacement"] is not None:
            if not found or any(_edit(span).touches(_edit(other)) for other in found[-1]):
                found.append([])
            found[-1].append(span)
    return found


def _help(child: dict[str, Any], source: str) -> str:
    """A help's message, with each line as rustc suggests to write it; of alternatives the first."""
    lines: dict[int, str] = {}
    spans = next(iter(_suggestions(child)), [])
    for span in sorted(spans, key=lambda s: (s["line_start"], -s["column_start"])):  # from the right: places stay
        new, number = span["suggested_replacement"], span["line_start"]
        if span["file_name"] != source or number != span["line_end"] or not span["text"]:
            continue
        line = lines.get(number, span["text"][0]["text"])
        lines[number] = line[: span["column_start"] - 1] + new + line[span["column_end"] - 1 :]
    return child["message"] + "".join(f"\n    line {n}: `{line.strip()}`" for n, line in sorted(lines.items()))
