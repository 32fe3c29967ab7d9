"""What of a run's circumstances is known."""

from __future__ import annotations

from sleepy.replay.circumstances import circumstances, preflight

DIRTY = {"mlflow.source.git.commit": "abc", "mlflow.source.git.dirty": "true"}


def test_a_diff_is_told_from_the_files_outside_of_git() -> None:
    texts = {"record/changes.patch": "# not in git: a\n+x\n", "record/untracked.txt": "12  a\n"}
    then = circumstances(DIRTY, {}, texts)
    other = {"record/changes.patch": "# not in git: b\n+x\n", "record/untracked.txt": "12  b\n"}
    now = circumstances(DIRTY, {}, other)
    assert [(line.what, line.state) for line in preflight(then, now)] == [
        ("code", "same"), ("diff", "same"), ("untracked files", "differs"),
    ]  # fmt: skip
    now = circumstances(DIRTY, {}, {**texts, "record/changes.patch": "# not in git: a\n+y\n"})
    assert [line.state for line in preflight(then, now)] == ["same", "differs", "same"]


def test_what_was_not_recorded_or_cut_is_unknown() -> None:
    long = {"record/changes.patch": "+x\n[cut, 9 characters]\n", "record/untracked.txt": "not-digested  a\n"}
    assert circumstances(DIRTY, {}, long) == {"code": "abc"}
    older = circumstances(DIRTY, {}, {"record/changes.patch": "# not in git: a\n"})
    assert older == {"code": "abc", "diff": "none"}
    clean = circumstances({**DIRTY, "mlflow.source.git.dirty": "false"}, {}, {})
    assert clean == {"code": "abc", "diff": "none", "untracked files": "none"}
    assert circumstances({"sleepy.code": "not in a git checkout that can be read"}, {}, {}) == {}
    assert [line.state for line in preflight(older, clean)] == ["same", "same", "unknown"]
