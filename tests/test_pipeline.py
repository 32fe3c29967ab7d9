"""Every option through the whole pipeline, in this process, on a model of two random layers.

What such a model answers is noise; what is looked at is what was trained, asked, decided, promoted and delivered.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import pytest

from sleepy.engines.ollama import Ollama
from sleepy.episodes.store import open_episodes
from sleepy.errors import ConfigError
from sleepy.evaluate.scores_file import read_scores
from sleepy.tensors import digest_of_tensors
from tests.jobs import artifacts, chosen, runs

Job = Callable[..., Any]


def scores(found: Any, name: str) -> Any:
    return read_scores(artifacts(found) / "scores" / f"{name}.json")


def test_what_is_measured_is_judged_promoted_and_delivered(run: Job, tmp_path: Path) -> None:
    from mlflow import MlflowClient
    from safetensors.torch import load_file

    found = run("export.measure=true", "export.quantization=q8_0")
    tags, metrics = found.data.tags, found.data.metrics
    record = json.loads((artifacts(found) / "adapter" / "sleepy.json").read_text())
    assert record["seed"] == 0 and len(tags["adapter.digest"]) == 64
    assert scores(found, "baseline").tasks_digest == scores(found, "eval").tasks_digest
    assert metrics["eval/tasks"] == metrics["delivered/tasks"] == 3 == metrics["gate/koans"]
    assert {"rustfix/pass_rate", "eval/stratum/neither/pass_rate", "compare/neither/p_value"} <= metrics.keys()
    assert tags["gate"] == "promoted", tags["gate.reason"]  # other answers, none of them right, before and after
    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    version = client.get_model_version_by_alias("sleepy-tiny", "promoted")
    promoted = load_file(Path(version.source.removeprefix("file://")) / "adapter_model.safetensors")
    with open_episodes(tmp_path / "episodes.db", create=False) as store:
        asked = {(e.adapter, e.model) for e in store.episodes()}
    assert digest_of_tensors(promoted) == tags["adapter.digest"]
    assert {adapter for adapter, _ in asked} == {"", tags["adapter.digest"]}
    assert tags["gguf.digest"] in {model for _, model in asked}  # the delivered file, a further column
    (folder,) = tmp_path.glob("outputs/job-*/export")
    assert {p.name for p in folder.iterdir()} == {"model-q8_0.gguf", "adapter.gguf", "Modelfile"}


def test_general_texts_are_asked_and_may_decide(run: Job, tmp_path: Path) -> None:
    found = run("gate.max_kl=1e-6")
    assert found.data.metrics["ability/kl"] > 1e-6 and found.data.metrics["ability/base_loss"] > 0
    assert found.data.tags["gate"] == "refused"
    assert "its KL to the base on general texts is" in found.data.tags["gate.reason"]
    assert "on general texts: loss" in (artifacts(found) / "report" / "report.md").read_text()
    silent = run("ability=false")
    assert "ability/kl" not in silent.data.metrics and silent.data.tags["gate"] == "promoted"
    assert "general texts" not in (artifacts(silent) / "report" / "report.md").read_text()


def test_nothing_large_is_left_behind(run: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run()
    (folder,) = tmp_path.glob("outputs/job-0")
    names = {p.relative_to(folder).parts[0] for p in folder.rglob("*") if p.is_file()}
    assert (
        "merged" not in names and not list(folder.glob("**/model.safetensors")) and not list(folder.glob("scratch/*"))
    )

    def full(*args: Any, **options: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("sleepy.deliver.export.write_f16", full)
    with pytest.raises(Exception, match="No space left"):
        run("seed=1")
    assert not list(tmp_path.glob("outputs/job-1/**/model*"))


def test_the_same_seed_gives_the_same_adapter_and_measures_nothing_twice(run: Job, tmp_path: Path) -> None:
    first, again, other = run(), run(), run("seed=1")
    digests = [r.data.tags["adapter.digest"] for r in (first, again, other)]
    assert digests[0] == digests[1] != digests[2]
    assert scores(first, "eval") == scores(again, "eval")


def test_an_adapter_that_changes_no_answer_is_not_promoted(run: Job) -> None:
    found = run("train.lr=1e-9")
    assert found.data.tags["gate"] == "refused" and "no answer changed" in found.data.tags["gate.reason"]


def test_an_adapter_that_does_not_replace_the_one_in_use_is_not_called_promoted(
    run: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sleepy.stages.promote", lambda *_, **__: False)  # as when the gate prefers the one in use
    tags = run().data.tags
    assert tags["gate"] == "refused" and tags["gate.reason"].startswith("refused: the adapter in use stays; beside the")


@pytest.mark.parametrize("algo", "naive targeted replay ewc olora sure ssr sam osf share coef_only grpo none".split())
def test_every_algorithm(run: Job, algo: str) -> None:
    more = ["algo.group=2", "algo.max_new_tokens=1024"] if algo == "grpo" else []
    found = run(f"algo={algo}", "data=all", "train.steps=1", *more)
    assert found.data.tags["algorithm"] == algo and {"gate", "gate.reason"} <= found.data.tags.keys()
    assert ("adapter.digest" in found.data.tags) == (algo != "none")
    if algo == "none":
        assert found.data.metrics["compare/difference"] == 0 and found.data.tags["gate"] == "refused"


def test_without_a_model_nothing_is_loaded(run: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.rs").write_text("pub fn f(v: Vec<u8>) -> usize {\n    let w = v;\n    v.len() + w.len()\n}\n")
    monkeypatch.setattr("sleepy.engines.llama_cpp.LlamaCpp.open", lambda *_: pytest.fail("a model was loaded"))
    found = run("repair=rustfix", "stages=[fetch,prove,baseline]")
    assert found.data.metrics["baseline/tasks"] == 3 and found.data.metrics["baseline/prompt_tokens"] == 0
    run("repair=rustfix", "stages=[repair]", "file=mine.rs", "write=true")
    assert "let w = v.clone();" in (tmp_path / "mine.rs").read_text()
    with pytest.raises(ConfigError, match="asks no model"):
        run("repair=rustfix")
    with pytest.raises(ConfigError, match=r"evaluate.samples: got 4, but repair=rustfix asks no model"):
        run("repair=rustfix", "stages=[fetch,prove,baseline]", "evaluate.samples=4")


def test_drawn_answers_of_both_models_are_measured_beside_the_strategy_s_own(run: Job, tmp_path: Path) -> None:
    found = run("evaluate.samples=2", "evaluate.temperature=1.5")
    metrics = found.data.metrics
    for prefix in ("baseline", "eval"):
        assert (
            metrics[f"{prefix}/samples/answers"] == 2 and metrics[f"{prefix}/edited"] > 0 == metrics[f"{prefix}/blocks"]
        )
        drawn = scores(found, f"{prefix}-samples")
        assert (
            [len(r.attempts) for r in drawn.results]
            == [2, 2, 2]
            == [len({a.text for a in r.attempts}) for r in drawn.results]
        )
    assert 0 == metrics["baseline/samples/low"] < metrics["baseline/samples/high"]
    assert metrics["compare/samples/difference"] == 0 and metrics["compare/samples/p_value"] == 1
    page = (artifacts(found) / "report" / "report.md").read_text()
    assert "2 answers a koan drawn at temperature 1.5" in page and "| answers | edited | compile |" in page
    assert (
        "Mean pass rate of drawn answers: 0.0 % (0.0 to " in (artifacts(found) / "report" / "baseline.md").read_text()
    )


def test_what_changes_no_number_does_not_keep_a_killed_run_from_its_checkpoint(
    run: Job, killed: Job, capsys: pytest.CaptureFixture[str]
) -> None:
    killed()
    run("train.steps=3", "train.checkpoint_every=2", "device=auto")
    shown = capsys.readouterr().err
    assert "Resuming after step 1 " in shown and "Starting from" not in shown


def test_a_checkpoint_that_does_not_fit_is_named_with_what_differs(
    run: Job, killed: Job, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    killed()
    (folder,) = (tmp_path / "outputs/checkpoints").iterdir()
    run("train.steps=3", "train.lr=0.02", "algo=sam")
    assert "Starting from" not in capsys.readouterr().err  # another algorithm's
    run("train.steps=3", "train.lr=0.02", "lora.alpha=8")
    place = folder.relative_to(tmp_path)
    differing = "differs in lora.alpha (16.0, now 8.0), train.lr (0.01, now 0.02)\n"
    told = f"Starting from step 1. The most similar unfinished checkpoint, {place} (step 1 of 3), {differing}"
    assert told in capsys.readouterr().err


def test_every_attempt_is_an_episode(run: Job, tmp_path: Path) -> None:
    found = run(f"cache={tmp_path / 'cache'}")
    with open_episodes(tmp_path / "episodes.db", create=False) as store:
        episodes = store.episodes()
    assert {e.run for e in episodes} == {found.info.run_id}
    assert {e.adapter for e in episodes} == {"", found.data.tags["adapter.digest"]}
    assert len(episodes) == 2 * (3 + 3)  # exam and gate, before and after


def test_what_can_be_known_early_is_said_early(run: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"no linear layer called v_porj. Did you mean v_proj"):
        run("lora.target_modules=[q_proj,v_porj]")
    assert "baseline/tasks" not in runs(tmp_path)[-1].data.metrics and not (tmp_path / "episodes.db").exists()
    count = len(runs(tmp_path))
    with pytest.raises(ConfigError, match=r"tasks\.path: there is no file mine\.jsonl"):
        chosen("tasks=file", "tasks.path=mine.jsonl")

    def version(package: str) -> str:
        raise PackageNotFoundError(package)

    monkeypatch.setattr("sleepy.engines.engine.version", version)
    with pytest.raises(ConfigError, match="engine=transformers needs the package transformers"):
        run("engine=transformers", "stages=[fetch,prove,baseline]")
    with pytest.raises(ConfigError, match=r"engine=ollama needs the package ollama \(pip install -e '\.\[ollama\]'\)"):
        Ollama().check_machine()
    assert len(runs(tmp_path)) == count  # nothing was begun


def test_a_users_file_is_repaired_with_the_adapter_in_use(run: Job, tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "mine.rs").write_text('pub fn f() -> u32 { "1" }\n')
    run("stages=[repair]", "file=mine.rs")
    assert "(no adapter is promoted)" in capsys.readouterr().err
