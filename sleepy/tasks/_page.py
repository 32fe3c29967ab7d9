"""The audit as a page for a person."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from sleepy.artifacts import TaskSet
from sleepy.errors import DataError
from sleepy.tasks._audit import Audited, Finding


def write_audit(folder: Path, tasks: TaskSet, rows: Sequence[Audited], findings: Sequence[Finding]) -> Path:
    """Print a line for each family and level, and write audit.md with a row for each task. Raises DataError with every
    finding, after the page is written."""
    lines = [
        f"# Audit of {tasks.name} (version {tasks.version or '-'}, digest {tasks.digest[:12]})",
        "",
        "| family | level | tasks | lines | codes | cheats caught | nearest |",
        "|---|---|---|---|---|---|---|",
    ]
    for family in dict.fromkeys(r.task.family for r in rows):
        for level in (1, 2, 3):
            group = [r for r in rows if r.task.family == family and r.task.level == level]
            if not group:
                continue
            sizes = [len(r.task.broken.splitlines()) for r in group]
            codes = Counter(r.task.code for r in group)
            near = max(group, key=lambda r: r.similarity)
            lines.append(
                f"| {family} | {level} | {len(group)} | {min(sizes)}-{max(sizes)} | "
                f"{' '.join(f'{c}x{n}' if n > 1 else c for c, n in codes.most_common())} | "
                f"{sum(r.cheats for r in group)} | {near.similarity:.2f} |"
            )
    print("\n".join(lines))
    lines += ["", "| task | pattern | code | cheats tried | nearest | similarity |", "|---|---|---|---|---|---|"]
    lines += [
        f"| {r.task.id} | {r.task.pattern} | {r.task.code} | {r.cheats} | {r.nearest} | {r.similarity:.2f} |"
        for r in rows
    ]
    lines += ["", "## Findings", "", *([f"- {f.task}: {f.problem}" for f in findings] or ["none"])]
    page = folder / "audit.md"
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text("\n".join(lines) + "\n", encoding="utf-8")
    if findings:
        raise DataError(
            f"the audit found {len(findings)} problems ({page}):\n"
            + "\n".join(f"  {f.task}: {f.problem}" for f in findings)
        )
    return page
