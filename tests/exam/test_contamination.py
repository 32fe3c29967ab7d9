"""Koans are recognised in other words, as broken programs and as repairs."""

from __future__ import annotations

import re
from dataclasses import replace

from sleepy.exam.builtin import every_koan
from sleepy.exam.contamination import LIMITS, Near, contaminated, most_alike
from sleepy.rust.similarity import fingerprint
from sleepy.rust.tokens import KEYWORDS

OTHER = "pub fn double(value: u32) -> u32 {\n    value * 2\n}\n"


def renamed(program: str) -> str:
    return re.sub(r"\b[A-Za-z_]\w*", lambda m: m[0] if m[0] in KEYWORDS else f"{m[0]}_x", program)


def test_koans_are_recognised_whichever_program_they_are_in() -> None:
    koans = every_koan()[::9]
    spaced = [replace(t, broken=t.broken.replace("let ", "let  /* a */ "), fix=OTHER) for t in koans]
    assert all(contaminated(spaced))
    assert all(contaminated([replace(t, broken=OTHER, fix=renamed(t.fix)) for t in koans]))
    assert contaminated([replace(koans[0], broken=OTHER, fix=OTHER), koans[0]]) == [False, True]
    assert contaminated([]) == []


def test_the_most_alike_is_named_with_its_kind_and_is_never_the_program_itself() -> None:
    own = every_koan()[0].broken
    prints = [fingerprint(program) for program in (own, renamed(own), OTHER)]
    exact, shape = most_alike(prints, prints, ["own", "renamed", "other"], same=True)[0]
    assert shape == Near("renamed", 1.0, "shape") and shape.excess == 1 / LIMITS["shape"]
    assert exact.task != "own" and exact.excess < 1
    assert most_alike(prints[:1], [], []) == [(Near(), Near())] and Near().excess == 0
