"""What the stage doubts looks at: a file of one's own, or a koan by its id."""

from __future__ import annotations

from pathlib import Path

import pytest

from sleepy.errors import ConfigError
from sleepy.own_code.subject import subject
from tests.conftest import BROKEN
from tests.jobs import chosen


def test_a_file_goes_before_a_koan_of_the_same_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    koans = chosen("tasks=koans_val").tasks
    koan = subject("borrow_checker/job_notice", koans, "2018")
    assert (koan.id, koan.code, bool(koan.tests)) == ("borrow_checker/job_notice", "E0382", True)
    (tmp_path / "own.rs").write_bytes(BROKEN.replace("\n", "\r\n").encode())
    own = subject("own.rs", koans, "2018")
    assert (own.id, own.broken, own.edition, own.tests) == ("own.rs", BROKEN, "2018", ())


@pytest.mark.parametrize(("place", "said"), [
    ("", "one Rust file or the id of a koan, but it is empty"), (".", "but . is a folder"),
    ("notes.txt", "but notes.txt is no Rust file"), ("gone.rs", "neither a file nor one of the 3 koans"),
    ("type_mismatch/savings_plam", r"nearest: type_mismatch/savings_plan.*such as tasks=koans_val"),
])  # fmt: skip
def test_what_is_neither_is_named(place: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notes.txt").write_text("x")
    words = ["tasks=koans_val", "tasks.families=[type_mismatch]", "tasks.per_level=2"]
    if "3 koans" in said:
        words[-1] = "tasks.per_level=1"
    with pytest.raises(ConfigError, match=said):
        subject(place, chosen(*words).tasks, "2021")
