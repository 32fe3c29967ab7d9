"""The exam itself, examined."""

from __future__ import annotations

from collections import Counter
from difflib import ndiff
from itertools import combinations
from pathlib import Path
from random import Random
from statistics import median

import pytest

from sleepy.artifacts import Task, digest_of
from sleepy.errors import DataError
from sleepy.exam.audit import Finding, alike, audit, prove
from sleepy.exam.builtin import Builtin, every_koan, frozen
from sleepy.exam.proof import PROOF, audit_everything, every_set
from sleepy.exam.strata import NEITHER, stratum_of
from sleepy.files import read_json
from sleepy.pairs.builtin import load_pairs
from sleepy.rust.similarity import fingerprint, jaccard
from sleepy.sandbox.bwrap import Bwrap
from sleepy.sandbox.rustfix import rustfixed

LINES = {1: (5, 10), 2: (10, 22), 3: (22, 45), 4: (25, 40), 5: (5, 11), 6: (5, 15), 7: (12, 25)}


def test_the_sets_are_as_large_and_as_spread_as_they_say() -> None:
    koans, mini, val, ladder = map(frozen, ("koans", "koans_mini", "koans_val", "koans_ladder"))
    assert set(Counter((t.family, t.level) for t in koans).values()) == {10} and len(koans) == 210
    assert set(Counter((t.family, t.level) for t in mini).values()) == {2} and len(mini) == 42
    assert set(Counter(t.family for t in val).values()) == {10} and len(val) == 70
    each = Counter((t.family, t.level) for t in ladder)
    assert len({t.family for t in ladder}) == 7 and len(each) == 28
    assert all(count == (3 if level == 5 else 2) for (_, level), count in each.items()) and len(ladder) == 63
    ids = [t.id for t in (*every_koan(), *load_pairs())]
    assert len(ids) == len(set(ids))
    for task in (*koans, *val, *ladder):
        low, high = LINES[task.level]
        assert low <= len(task.broken.splitlines()) <= high, task.id


def test_a_set_can_be_asked_for_families_and_patterns() -> None:
    whole = frozen("patterns")
    fields = {"folder": "patterns", "version": whole.version, "sha256": whole.digest}
    two = Builtin(**fields, patterns=["missing_mut", "use_after_move"]).load()
    assert Counter(t.pattern for t in two) == {"missing_mut": 3, "use_after_move": 3} and two.name == "patterns[6]"
    with pytest.raises(DataError, match=r"tasks.patterns: there is no mising_mut. Choose from .*missing_mut"):
        Builtin(**fields, patterns=["mising_mut"]).load()
    with pytest.raises(DataError, match="leave no koan"):
        Builtin(**fields, families=["lifetimes"], patterns=["missing_mut"]).load()


def test_a_rung_of_the_ladder_turns_one_knob() -> None:
    ladder = frozen("koans_ladder")
    for task in ladder:
        changed = [line for line in ndiff(task.broken.splitlines(), task.fix.splitlines()) if line[0] in "-+"]
        if task.level in (4, 6):
            assert "".join(line[0] for line in changed) == "-+", f"{task.id} changes more than a line"
        if task.level == 7:
            assert sum(line[0] == "+" for line in changed) > 1, f"{task.id} has one place only"
    for level in (4, 5, 6, 7):
        strata = [stratum_of(t.id) for t in ladder if t.level == level]
        assert 3 * strata.count(NEITHER) >= len(strata) >= 12


@pytest.mark.slow
def test_what_rustc_suggests_for_a_trap_is_no_repair_and_elsewhere_springs_none(cache: Path) -> None:
    """On the rung of traps (6) the first suggestions repair nothing, and most compile and misbehave; on the others what
    compiles is a repair, or says by `todo!()` that it is none."""
    checker, ladder = Bwrap().open(cache), frozen("koans_ladder")
    jobs = [t.broken_job for t in ladder]
    fixed = [text for text, _ in rustfixed(checker, jobs, checker.check_all(jobs))]
    checks = checker.check_all([t.repaired_job(text) for t, text in zip(ladder, fixed, strict=True)])
    for task, text, check in zip(ladder, fixed, checks, strict=True):
        assert not check.passed if task.level == 6 else check.stage != "test" or "todo!()" in text, task.id
    assert sum(c.stage == "test" for t, c in zip(ladder, checks, strict=True) if t.level == 6) >= 10


def test_held_out_koans_and_pairs_have_the_same_patterns() -> None:
    held, pairs = frozen("patterns"), load_pairs()
    assert set(Counter(t.pattern for t in held).values()) == {3} and len(held) == 159
    together = Counter((t.family, t.pattern) for t in (*held, *pairs))
    assert len(together) == 53 and min(together.values()) >= 15 and sum(together.values()) == 868
    assert not {t.skeleton for t in held} & {t.skeleton for t in pairs}
    assert set(together) == {(t.family, t.pattern) for t in held}


def test_pairs_are_as_long_as_the_long_koans() -> None:
    families = Counter(t.family for t in load_pairs() if len(t.broken.splitlines()) >= 25)
    assert len(families) == 8 and min(families.values()) >= 6 and sum(families.values()) >= 100


def test_pairs_of_a_pattern_are_not_renamings() -> None:
    groups: dict[str, list[Task]] = {}
    for task in (*frozen("patterns"), *load_pairs()):
        groups.setdefault(task.pattern, []).append(task)
    for pattern, tasks in groups.items():
        prints = [fingerprint(t.broken).shape for t in tasks]
        alike = [jaccard(a, b) for a, b in combinations(prints, 2)]
        assert median(alike) < 0.6 and max(alike) <= 0.9, pattern


def test_no_koan_is_a_near_duplicate_of_another_or_of_a_pair() -> None:
    assert alike(every_koan(), load_pairs().tasks)[1] == []


def test_the_tests_noticed_all_but_a_few_mutants() -> None:
    """Of those that passed in the recorded audit nearly all are no mistakes: a bound that nothing reaches, `>` for `>=`
    where the largest is kept."""
    for name, one in read_json(PROOF)["sets"].items():
        if name != "pairs":
            assert one["mutants"] > 3 * one["tasks"]
            assert sum(map(len, one["survivors"].values())) < 0.02 * one["mutants"], name


@pytest.mark.slow
def test_what_changed_since_the_recorded_audit_and_a_tenth_of_the_rest_is_sound(cache: Path, testrun_uid: str) -> None:
    """Another tenth in every run; the message says how to repeat one."""
    checker, recorded, findings = Bwrap().open(cache), read_json(PROOF), []
    draw = Random(f"{digest_of(recorded)} {testrun_uid}")
    for tasks in every_set():
        known = recorded["sets"].get(tasks.name, {})
        unchanged = known.get("digest") == tasks.digest
        chosen = draw.sample(tasks.tasks, len(tasks) // 10) if unchanged else tasks.tasks
        if tasks.name == "pairs":
            findings += prove(chosen, checker)
            continue
        rows, found = audit(chosen, checker)
        missed = [Finding(r.task.id, name) for r in rows for name in r.survivors]
        findings += found + [f for f in missed if unchanged and f.problem not in known["survivors"].get(f.task, ())]
    assert findings == [], f"drawn again by: python -m pytest --testrunuid={testrun_uid} tests/exam"


@pytest.mark.nightly
@pytest.mark.timeout(3600)
def test_the_whole_audit_finds_nothing_and_is_the_recorded_one(cache: Path) -> None:
    recorded = read_json(PROOF)
    found, findings = audit_everything(Bwrap().open(cache))
    assert findings == []
    if found["rustc"] != recorded["rustc"]:  # another compiler points at other lines, so other cheats are tried
        pytest.skip(f"nothing was found, with {found['rustc']}; the record is of {recorded['rustc']}")
    assert found == recorded, "renew the record: python -m sleepy.exam"
