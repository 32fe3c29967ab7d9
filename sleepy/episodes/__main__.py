"""`python -m sleepy.episodes`: look at recorded episodes, take them away as JSON lines, bring them back."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from sleepy.episodes.jsonl import VERDICTS, export_episodes, import_episodes
from sleepy.episodes.store import EpisodeStore, open_episodes
from sleepy.errors import SleepyError


def main(words: list[str] | None = None) -> int:
    """Run the command line; the exit code. What a user can fix becomes a message."""
    parser = argparse.ArgumentParser(prog="python -m sleepy.episodes", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, does in (
        ("show", "counts by family and verdict, and the last episodes"),
        ("check", "read the whole file and say whether it is sound"),
        ("export", "write every episode as a line of JSON"),
        ("import", "add the episodes of a JSONL file to STORE; those that are there already stay"),
    ):
        command = commands.add_parser(name, help=does)
        if name == "import":
            command.add_argument("jsonl", type=Path, help="the file to read")
        command.add_argument("store", type=Path, help="the SQLite file, such as episodes.db")
        if name == "export":
            command.add_argument("jsonl", type=Path, help="the file to write; replaced if it is there")
        if name == "show":
            command.add_argument("--last", type=int, default=10, metavar="N", help="how many of the last episodes (10)")
    asked = parser.parse_args(words)
    try:
        print(_done(asked), flush=True)
    except BrokenPipeError:  # `| head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (SleepyError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _done(asked: argparse.Namespace) -> str:
    """Do what is asked, and say what was done."""
    if asked.command == "import":
        new, count = import_episodes(asked.jsonl, asked.store)
        return f"{new} of {count} episodes were new to {asked.store}"
    with open_episodes(asked.store, create=False) as store:
        if asked.command == "show":
            return summary(store, max(0, asked.last))
        if asked.command == "export":
            return f"{export_episodes(store, asked.jsonl)} episodes written to {asked.jsonl}"
        store.check()
        return f"{asked.store} is sound"


def summary(store: EpisodeStore, last: int) -> str:
    """The store as `show` prints it: one row per family, then the last episodes, newest first."""
    counts, episodes = store.counts(), store.newest(last)
    rows: list[tuple[str, ...]] = [("family", *VERDICTS, "all")]
    for family, found in counts.items():
        rows.append((family, *(str(found.get(verdict, 0)) for verdict in VERDICTS), str(sum(found.values()))))
    totals = [sum(found.get(verdict, 0) for found in counts.values()) for verdict in VERDICTS]
    rows.append(("all", *map(str, totals), str(sum(totals))))
    width = max(len(row[0]) for row in rows)
    lines = [f"{row[0]:{width}}" + "".join(f"{cell:>9}" for cell in row[1:]) for row in rows]
    if episodes:
        lines += ["", "last episodes: UTC, run, task, attempt, verdict, error before -> after"]
    for e in episodes:
        kinds = " -> ".join(_first_line(kind) for kind in (e.before, e.after))
        lines.append(f"{e.time[:19]}  {e.run}  {e.task}  {e.attempt}  {e.verdict:7}  {kinds}")
    return "\n".join(lines)


def _first_line(signature: str) -> str:
    first, *more = signature.split("\n")
    return f"{first} (and {len(more)} more)" if more else first or "-"


if __name__ == "__main__":
    sys.exit(main())
