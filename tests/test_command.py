"""What a user types, and what comes back: the command line, run for real."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def sleepy(*words: str, folder: Path, timeout: float = 120, **env: str) -> subprocess.CompletedProcess[str]:
    """`python run.py words` started in `folder`."""
    return subprocess.run(
        [sys.executable, str(ROOT / "run.py"), *words],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=timeout,
        env={**os.environ, **env},
    )


def test_help_and_config_answer_without_loading_anything_heavy(tmp_path: Path) -> None:
    shown = sleepy("--cfg", "job", folder=tmp_path)
    assert shown.returncode == 0 and "sleepy.train.naive.Naive" in shown.stdout
    probe = (
        f"import sys; sys.argv = ['run.py', '--help']; sys.path.insert(0, {str(ROOT)!r})\n"
        "import run\n"
        "try: run.main()\n"
        "except SystemExit: pass\n"
        "print([m for m in ('torch', 'transformers', 'mlflow', 'llama_cpp') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", probe], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.stdout.rstrip().endswith("[]"), done.stderr


def test_an_algorithm_keeps_its_data_in_a_stream(tmp_path: Path) -> None:
    for words, data in (([], "all.All"), (["algo=replay"], "mixed.Mixed"), (["algo=replay", "data=all"], "all.All")):
        shown = sleepy("stream=sequential", *words, "--cfg", "job", folder=tmp_path)
        assert f"_target_: sleepy.data.{data}" in shown.stdout, shown.stdout + shown.stderr


def test_all_problems_of_a_command_line_are_told_at_once(tmp_path: Path) -> None:
    done = sleepy("model=qwen-0.5b", "lora.rr=8", "train.lr=abc", "trian.steps=4", folder=tmp_path)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    for said in (
        "model: found 'qwen-0.5b'",
        "nearest: qwen2.5-coder-0.5b",
        "lora.rr: no such option; nearest: lora.r",
        "train.lr: found 'abc'",
        "trian.steps: no such option; nearest: train.steps",
    ):
        assert said in done.stderr
    assert not (tmp_path / "mlflow.db").exists()


def test_all_values_out_of_range_are_told_at_once(tmp_path: Path) -> None:
    done = sleepy("lora.r=0", "train.decay=steep", "device=gpu", "stages=[train,evaluat]", folder=tmp_path)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    for said in (
        "lora.r: found 0, expected a value at least 1",
        "train.decay: found 'steep', expected one of linear",
        "device: found 'gpu', expected one of auto, cpu, cuda, mps",
    ):
        assert said in done.stderr


def test_unknown_stages_and_missing_ones(tmp_path: Path) -> None:
    done = sleepy("stages=[train,evaluat]", folder=tmp_path)
    assert "found 'evaluat', expected some of fetch" in done.stderr and "train needs baseline" in done.stderr


def test_a_bad_sweep_starts_no_job(tmp_path: Path) -> None:
    done = sleepy("-m", "lora.r=8,0", "algo=naive,replay", folder=tmp_path)
    assert done.returncode == 1 and "none was started" in done.stderr
    assert done.stderr.count("lora.r: found 0") == 2 and not (tmp_path / "mlflow.db").exists()


@pytest.mark.parametrize("word", ["experiment=smoke", "+experiment=smoke"])
def test_experiments_with_and_without_plus(tmp_path: Path, word: str) -> None:
    shown = sleepy(word, "train.steps=3", "--cfg", "job", folder=tmp_path)
    assert shown.returncode == 0 and "name: smollm2-135m" in shown.stdout and "steps: 3" in shown.stdout


def test_an_algorithm_brings_its_mix_and_the_command_line_wins(tmp_path: Path) -> None:
    assert "sleepy.pairs.mixed.Mixed" in sleepy("algo=replay", "--cfg", "job", folder=tmp_path).stdout
    assert "sleepy.pairs.all.All" in sleepy("algo=replay", "data=all", "--cfg", "job", folder=tmp_path).stdout


def test_what_this_machine_cannot_do_is_said_before_anything_is_fetched(tmp_path: Path) -> None:
    done = sleepy(
        "train.attention=flash_attention_2", "device=cpu", folder=tmp_path, SLEEPY_CACHE=str(tmp_path / "none")
    )
    assert done.returncode == 1 and "needs a CUDA device" in done.stderr and "train.attention=auto" in done.stderr
    assert not (tmp_path / "none").exists()


def test_a_broken_koan_line_names_file_and_line(tmp_path: Path) -> None:
    (tmp_path / "mine.jsonl").write_text("{broken\n")
    done = sleepy("tasks=file", "tasks.path=mine.jsonl", "stages=[prove]", folder=tmp_path)
    assert done.returncode == 1 and "mine.jsonl:1: not JSON" in done.stderr and "Traceback" not in done.stderr


def test_a_koan_whose_fix_does_not_compile_is_named(tmp_path: Path) -> None:
    koan = {
        "id": "mine/one",
        "family": "mine",
        "pattern": "p",
        "level": 1,
        "code": "E0308",
        "edition": "2021",
        "description": "d",
        "broken": 'pub fn f() -> u32 { "1" }',
        "fix": 'pub fn f() -> u32 { "2" }',
        "tests": ["assert_eq!(f(), 1);", "assert!(f() < 2);"],
    }
    (tmp_path / "mine.jsonl").write_text(json.dumps(koan) + "\n")
    done = sleepy("tasks=file", "tasks.path=mine.jsonl", "stages=[prove]", folder=tmp_path)
    assert done.returncode == 1 and "mine/one: the fix does not pass (compile)" in done.stderr


def test_an_ensemble_without_adapters_is_refused_before_anything_is_loaded(tmp_path: Path) -> None:
    done = sleepy("repair=ensemble", "stages=[fetch,prove,baseline]", folder=tmp_path)
    assert done.returncode == 1 and "An ensemble needs adapters that were not merged" in done.stderr
    assert not (tmp_path / "mlflow.db").exists()


def test_a_server_that_cannot_load_the_result_is_refused_before_anything_is_loaded(tmp_path: Path) -> None:
    done = sleepy("engine=openai", folder=tmp_path)
    assert done.returncode == 1 and "asks a model that is served elsewhere" in done.stderr
    assert not (tmp_path / "mlflow.db").exists()
