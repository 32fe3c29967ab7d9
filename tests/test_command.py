"""What a user types, and what comes back."""

from __future__ import annotations

import itertools
import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from sleepy.cli import help_text
from sleepy.errors import ConfigError
from sleepy.explain import explain
from sleepy.preflight import planned
from sleepy.settings import SECTIONS, register
from tests.jobs import ROOT, artifacts, chosen, composed, job, runs, sleepy


def test_help_and_config_answer_without_loading_anything_heavy(tmp_path: Path) -> None:
    shown = sleepy(tmp_path, "--cfg", "job")
    assert shown.returncode == 0 and "sleepy.train.sft.Sft" in shown.stdout
    probe = (
        f"import sys; sys.argv = ['run.py', '--help']; sys.path.insert(0, {str(ROOT)!r})\n"
        "import run\n"
        "try: run.main()\n"
        "except SystemExit: pass\n"
        "print([m for m in ('torch', 'transformers', 'mlflow', 'llama_cpp', 'sleepy.settings') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", probe], cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout.rstrip().endswith("[]"), done.stderr


def test_help_shows_every_key_of_every_section_with_its_comment() -> None:
    shown, config = help_text([]), composed()
    for section in SECTIONS:
        assert f"\n{section}:" in shown
        for key in config[section]:
            assert f"\n  {key}: " in shown, f"{section}.{key}"
    assert "# rank: more can learn more, and forget more" in shown
    assert "hydra" not in shown.split("== Keys")[1] and "defaults:" not in shown
    share = help_text(["algo=share"])
    assert "variance: 0.6   # share of the adapters' variance" in share and "_target_" not in share


def test_what_the_config_states_is_what_the_dataclasses_default_to() -> None:
    found = chosen()
    for section in SECTIONS:
        assert getattr(found, section) == type(getattr(found, section))(), section


def test_no_home_is_needed_to_find_the_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HOME")
    monkeypatch.setenv("SLEEPY_CACHE", "/some/cache")
    assert chosen().cache == "/some/cache"
    monkeypatch.delenv("SLEEPY_CACHE")
    assert chosen().cache == "~/.cache/sleepy"  # expanded where it is used


@pytest.mark.parametrize(("words", "data"), [
    (["stream=sequential"], "all"), (["stream=sequential", "algo=replay"], "mixed"),
    (["stream=sequential", "algo=replay", "data=all"], "all"), (["algo=replay"], "mixed"),
    (["algo=replay", "data=all"], "all"), (["algo=targeted"], "targeted"), ([], "all"),
])  # fmt: skip
def test_an_algorithm_brings_its_mix_and_the_command_line_wins(words: list[str], data: str) -> None:
    assert type(chosen(*words).data).__module__ == f"sleepy.pairs.{data}"


def test_all_problems_of_a_command_line_are_told_at_once(tmp_path: Path) -> None:
    done = sleepy(tmp_path, "model=qwen-0.5b", "lora.rr=8", "train.lr=abc", "trian.steps=4")
    assert done.returncode == 1 and "Traceback" not in done.stderr
    for said in (
        "model must be one of hub, qwen2.5-coder-0.5b",
        "not 'qwen-0.5b'. Did you mean qwen2.5-coder-0.5b",
        "lora.rr: no such option. Did you mean lora.r ",
        "train.lr=abc: ",
        "trian.steps: no such option. Did you mean train.steps",
    ):
        assert said in done.stderr
    assert not (tmp_path / "mlflow.db").exists()


def test_a_sound_override_is_not_blamed_for_another() -> None:
    register()
    (_, problem) = explain(["+engine.extra.foo=1", "engine=openai", "train.stepz=3"])
    assert "train.stepz: no such option" in problem


def test_all_values_out_of_range_are_told_at_once() -> None:
    with pytest.raises(ConfigError) as error:
        chosen("lora.r=0", "train.decay=steep", "device=gpu", "seed=-1")
    for said in (
        "lora.r must be at least 1, not 0",
        "train.decay must be one of linear",
        "device must be one of auto, cpu, cuda, mps, not 'gpu'",
        "seed must be at least 0, not -1",
    ):
        assert said in str(error.value)


def test_unknown_stages_and_missing_ones() -> None:
    with pytest.raises(ConfigError, match=r"(?s)there is no stage evaluat. Choose from fetch.*train needs baseline"):
        planned(["train", "evaluat"])
    assert planned(["report", "gate", "evaluate", "train", "baseline", "prove", "fetch"])[-2:] == ("gate", "report")


def test_a_bad_sweep_starts_no_job(tmp_path: Path) -> None:
    done = sleepy(tmp_path, "-m", "lora.r=8,0", "algo=naive,replay")
    assert done.returncode == 1 and "none was started" in done.stderr
    assert done.stderr.count("lora.r must be at least 1, not 0") == 2 and not (tmp_path / "mlflow.db").exists()


def test_a_sweep_over_a_key_that_the_default_leaves_empty(tmp_path: Path) -> None:
    koans = {str(i): tmp_path / f"{i}.jsonl" for i in range(2)}
    for path in koans.values():
        path.write_text("{broken\n")
    done = sleepy(tmp_path, "-m", "tasks=file", f"tasks.path={','.join(map(str, koans.values()))}", "stages=[prove]")
    assert "tasks.path: " not in done.stderr and done.stderr.count("jsonl:1: not a JSON object") >= 1


@pytest.mark.parametrize(("word", "key", "value"), [
    ("experiment=smoke", "model.name", "smollm2-135m"), ("+experiment=smoke", "model.name", "smollm2-135m"),
    ("merge=default", "merge._target_", "sleepy.adapters.combine.Combine"),
    ("stream.gate_on=patterns", "gate.tasks", "patterns"), ("evaluate.adapter=merged", "export.measure", True),
])  # fmt: skip
def test_other_spellings_are_understood(word: str, key: str, value: object, tmp_path: Path) -> None:
    import yaml

    shown = sleepy(tmp_path, word, "train.steps=3", "--cfg", "job")
    found = yaml.safe_load(shown.stdout)
    group, name = key.split(".")
    assert shown.returncode == 0 and found[group][name] == value and found["train"]["steps"] == 3


def test_what_this_machine_cannot_do_is_said_before_anything_is_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"needs a CUDA device.*train.attention=auto"):
        job(tmp_path, "train.attention=flash_attention_2", "device=cpu", "cache=none")
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(("words", "said"), [
    (["engine=openai"], "asks a model that is served elsewhere"),
    (["engine=ollama"], "cannot put an adapter on the loaded model"),
    (["export.measure=true", "stages=[fetch,prove,baseline]"], "it needs the stage export"),
    (["stages=[fetch,prove,baseline,train,merge]"], "merge without export keeps nothing"),
    (["file=a.rs"], "only used by the stages repair and doubts"), (["stages=[repair]"], "must name a Rust file"),
    (["stream=given", "algo=none"], "Name PEFT folders or MLflow runs"),
    (["stream=given", "algo=none", "stream.adapters=[gone]"], "gone"),
    (["stream=each"], "Combine them (merge=average"), (["routing=oracle"], "use it with stream=each or stream=given"),
])  # fmt: skip
def test_what_does_not_go_together_is_said_before_anything_is_loaded(
    words: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError) as error:
        job(tmp_path, *words, "cache=none")
    assert said in str(error.value) and not (tmp_path / "none").exists()


def test_what_only_the_swept_choices_have_can_be_swept_over(tmp_path: Path) -> None:
    import yaml

    (tmp_path / "mine" / "experiment").mkdir(parents=True)
    (tmp_path / "mine" / "experiment" / "dense.yaml").write_text(
        "# @package _global_\ndefaults: [{override /model: smollm2-135m}, _self_]\nmerge: {density: 0.3}\n"
        "tasks: {per_level: 1, families: [type_mismatch]}\n"
    )
    words = [
        "experiment=dense", f"repair.ask={300 * 'x'}", "stages=[prove]", "data=all,mixed", "data.examples=8",
        "merge=ties,dare_ties",
    ]  # fmt: skip
    done = sleepy(tmp_path, "--config-dir", "mine", "-m", *words)
    assert done.returncode == 0, done.stderr
    parent, *jobs = runs(tmp_path)
    assert (parent.data.tags["sleepy.swept"], parent.info.status) == ("data merge", "FINISHED")
    (record,) = tmp_path.glob("multirun/*/*/multirun.yaml")
    assert yaml.safe_load(record.read_text())["hydra"]["overrides"]["task"] == words
    for run, (data, merge) in zip(jobs, itertools.product(["all", "mixed"], ["ties", "dare_ties"]), strict=True):
        typed = artifacts(run) / "config" / "overrides.txt"
        assert typed.read_text().split() == [*words[:3], f"data={data}", words[4], f"merge={merge}"]
        params = run.data.params
        assert (params["data.examples"], params["merge.how"], params["merge.density"]) == ("8", merge, "0.3")
        assert run.info.run_name.startswith(f"data={data} merge={merge} ") and len(run.info.run_name) <= 250


def test_a_sweep_is_refused_for_the_choices_that_lack_an_option() -> None:
    register()
    (_, problem) = explain(["data=all,failures,mixed", "data.examples=8", "merge=glob(*ties)", "merge.density=0.3"])
    having = "data=all, episodes, file, mixed, pattern, replay, targeted have it"
    assert problem == f"  data.examples: data=failures has no such option; {having}"


def test_an_interval_is_refused_and_a_range_is_swept_over() -> None:
    register()
    (_, problem) = explain(["train.lr=interval(0.1,0.5)", "lora.r=range(8,32,8)", "lora.alpha=choice(8,16)"])
    assert problem.startswith("  train.lr=interval(0.1,0.5): an interval has no values")
    (_, problem) = explain(["lora.r=range(1,3)", "lora.dropout=choice(0.1,x)"])
    assert problem == "  lora.dropout=x: Value 'x' of type 'str' could not be converted to Float"


def test_files_that_do_not_go_together_are_named_before_anything_else() -> None:
    register()
    _, first, *others = explain(["seed=-1", "experiment=smoke", "data=failures", "lora.rr=8"])
    assert first.startswith("  experiment=smoke sets data.examples (experiment/smoke.yaml), but data=failures has no")
    assert "data=all, episodes" in first and first.endswith("or leave out experiment=smoke")
    assert others == ["  lora.rr: no such option. Did you mean lora.r or lora or lora.dropout?"]


@pytest.mark.parametrize(("word", "quoted"), [
    ("file=my (copy).rs", "'file=\"my (copy).rs\"'"), ("file=~/é.rs", "'file=\"~/é.rs\"'"),
    ("tasks.families=[é,b]", "'tasks.families=[\"é\",\"b\"]'"), ("file", ""),
])  # fmt: skip
def test_a_word_that_must_be_quoted_is_shown_quoted(word: str, quoted: str) -> None:
    (_, problem) = explain([word])
    assert problem.startswith(f"  {word}: cannot be read as key=value (") and problem.endswith(quoted or ")")
    if quoted:
        assert explain(shlex.split(quoted)) == []


def test_a_recorded_config_runs_again(tmp_path: Path) -> None:
    first = sleepy(tmp_path, "experiment=smoke", "algo=targeted", "data=all", "seed=7", "stages=[prove]")
    (record,) = tmp_path.glob("outputs/*/*/.hydra")
    again = ["--config-path", str(record.relative_to(tmp_path)), "--config-name", "config"]
    second = sleepy(tmp_path, *again, "lora.r=4")
    swept = sleepy(tmp_path, "-m", *again, "seed=8,9")
    assert [done.returncode for done in (first, second, swept)] == [0, 0, 0], second.stderr + swept.stderr
    one, two, parent, *jobs = runs(tmp_path)
    assert (two.data.params["seed"], two.data.params["lora.r"], two.data.params["train.steps"]) == ("7", "4", "2")
    assert two.info.run_name == f"{one.info.run_name} lora.r=4"
    for tag in ("algorithm", "experiment", "data", "model"):
        assert one.data.tags[tag] == two.data.tags[tag] == jobs[-1].data.tags[tag]
    assert parent.info.status == "FINISHED" and [run.data.params["seed"] for run in jobs] == ["8", "9"]
    for word, said in (
        ("lora.r=many", "error: lora.r: Value 'many' of type 'str' could not be converted to Integer"),
        ("data=failures", "data=failures: the choices of a recorded config cannot be changed"),
        ("model._target_=gone.Model", "model: the recorded config names 'gone.Model', which is not an option"),
    ):
        refused = sleepy(tmp_path, *again, word)
        assert refused.returncode == 1 and said in refused.stderr, refused.stderr


def test_a_broken_koan_line_names_file_and_line(tmp_path: Path) -> None:
    (tmp_path / "mine.jsonl").write_text("{broken\n")
    done = sleepy(tmp_path, "tasks=file", "tasks.path=mine.jsonl", "stages=[prove]")
    assert done.returncode == 1 and "mine.jsonl:1: not a JSON object" in done.stderr and "Traceback" not in done.stderr


def test_a_koan_whose_fix_does_not_compile_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from sleepy.errors import DataError

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
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=r"mine/one: the fix does not pass \(compile\)"):
        job(tmp_path, "tasks=file", "tasks.path=mine.jsonl", "stages=[prove]")


@pytest.mark.parametrize(("words", "search"), [
    (["stages=[repair]", "file=a.rs"], True), (["stages=[doubts]", "repair.candidates=4"], True),
    (["stages=[ repair, doubts ]"], True), (["-m", "stages=[repair]", "file=a.rs,b.rs"], True),
    (["stages=[repair]", "repair=hints"], False), (["stages=[repair]", "engine=ollama"], False),
    (["stages=[repair]", "experiment=smoke"], False), (["stages=[fetch,prove,baseline]"], False),
    (["stages=[fetch,prove,baseline,repair]"], False), ([], False),
    (["--config-path", "old", "stages=[repair]"], False),
])  # fmt: skip
def test_a_users_own_code_is_searched_for_a_repair_unless_the_command_says_otherwise(
    words: list[str], search: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sleepy.cli import guarded

    seen: list[str] = []
    monkeypatch.setattr(sys, "argv", ["run.py", *words])
    monkeypatch.setattr("signal.signal", lambda *_: None)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    guarded(lambda: seen.extend(sys.argv[1:]))
    assert ("repair=search" in seen) == search and [word for word in seen if word in words] == words
