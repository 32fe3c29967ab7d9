"""What runs leave behind is listed with its size, and removed only if asked."""

from __future__ import annotations

from pathlib import Path

import pytest

from sleepy.clean import main
from sleepy.train.checkpoint import Progress, note


def test_checkpoints_and_gguf_files_are_listed_then_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SLEEPY_CACHE", str(tmp_path / "cache"))
    large = {"outputs/checkpoints/ab/state.pt": 3, "outputs/day/time/export/model-q4_k_m.gguf": 2,
             "multirun/day/time/0/export/adapter.gguf": 1, "cache/baselines/ab.answers.jsonl": 4}  # fmt: skip
    kept = ["outputs/day/time/report.md", "outputs/day/time/export/Modelfile", "elsewhere/export/model.gguf",
            "cache/baselines/cd.json"]  # fmt: skip
    for name, size in {**large, **dict.fromkeys(kept, 1)}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(bytes(size * 1_000_000))
    note(tmp_path / "outputs/checkpoints/ab", Progress(4, 16, {}))
    assert main([]) == 0
    listed = capsys.readouterr().out
    assert "3.0 MB  outputs/checkpoints/ab (step 4 of 16)\n" in listed and "1.0 MB  multirun/day" in listed
    assert "4.0 MB" in listed and "cache/baselines/ab.answers.jsonl\n" in listed and "cd.json" not in listed
    assert "10.0 MB in 4 files and folders found; --remove removes them" in listed
    assert all((tmp_path / name).is_file() for name in large)
    assert main(["--remove"]) == 0
    assert not any((tmp_path / name).exists() for name in large) and all((tmp_path / name).is_file() for name in kept)
    capsys.readouterr()
    assert main([]) == 0 and capsys.readouterr().out == "Nothing to remove\n"
