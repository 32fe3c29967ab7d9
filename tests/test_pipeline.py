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

from sleepy.artifacts import Mix
from sleepy.engines.ollama import Ollama
from sleepy.episodes.store import open_episodes
from sleepy.errors import ConfigError
from sleepy.evaluate.scores_file import read_scores
from sleepy.exam.read import read_tasks
from sleepy.tensors import digest_of_tensors
from tests.jobs import artifacts, chosen, job, runs
from tests.models.places import write_gguf

Job = Callable[..., Any]
PATTERNS = ["float_and_integer", "index_not_usize"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model, and a cache in which it is derived once."""
    folder = tmp_path_factory.mktemp("model")
    write_gguf(folder / "tiny.gguf", head="own")
    return folder


@pytest.fixture
def run(tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> Job:
    """`run(words)`: a job on the tiny model, in a folder of its own; three koans, three koans for the gate."""
    monkeypatch.chdir(tmp_path)
    words = [
        "model=hub", f"model.path={model / 'tiny.gguf'}", f"cache={model / 'cache'}",
        "tasks.per_level=1", "tasks.families=[type_mismatch]", "gate.koans=3", "data=all", "data.examples=4",
        "train.steps=2", "train.batch_size=2", "train.max_length=8000", "train.lr=0.01", "device=cpu",
        "report.pictures=false", "export.proof_prompts=1",
    ]  # fmt: skip

    def run(*more: str) -> Any:
        threads = [] if any(word.startswith("engine=") for word in more) else ["engine.threads=1"]
        return job(tmp_path, *words, *threads, *more)

    return run


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


@pytest.mark.parametrize("algo", "naive targeted replay ewc olora sure ssr sam osf share coef_only grpo none".split())
def test_every_algorithm(run: Job, algo: str) -> None:
    more = ["algo.group=2", "algo.max_new_tokens=1024"] if algo == "grpo" else []
    found = run(f"algo={algo}", "data=all", "train.steps=1", *more)
    assert found.data.tags["algorithm"] == algo and {"gate", "gate.reason"} <= found.data.tags.keys()
    assert ("adapter.digest" in found.data.tags) == (algo != "none")
    if algo == "none":
        assert found.data.metrics["compare/difference"] == 0 and found.data.tags["gate"] == "refused"


@pytest.mark.parametrize("algo", ["naive", "share", "sure"])
def test_a_stream_of_tasks(run: Job, tmp_path: Path, algo: str) -> None:
    found = run(f"algo={algo}", "stream=sequential", "stream.tasks=2", "data=all", "data.examples=2", "train.steps=1")
    assert {"stream/acc", "stream/bwt", "stream/fwt", "stream/forgetting"} <= found.data.metrics.keys()
    steps = json.loads((artifacts(found) / "stream" / "stream.json").read_text())["steps"]
    (folder,) = tmp_path.glob("outputs/job-0")
    assert len(steps) == 2 and found.data.metrics["eval/tasks"] == found.data.metrics["baseline/tasks"] > 2
    last = json.loads((artifacts(found) / "stream.json").read_text())
    at = last["columns"].index("after 2")
    eval_scores = scores(found, "eval")
    assert [row[at] for row in last["data"]] == [r.passed for r in eval_scores.results]
    assert not list(folder.glob("scratch/*"))
    if algo == "share":  # each task's koans by its own coefficients, in the stream's last row and in the result
        assert "adapter.digest" not in found.data.tags and {p.name for p in folder.glob("tasks/2/*")} == {
            "task_1", "task_2",
        }  # fmt: skip


def test_cycles(run: Job) -> None:
    found = run("stream=cycles", "stream.cycles=2", "algo=replay", "data=all")
    assert found.data.metrics["cycle/promoted"] in (0, 1) and "gate" in found.data.tags
    with pytest.raises(ConfigError, match="which the cycles are reported on"):
        run("stream=cycles", "tasks=koans_val", "tasks.per_level=0", "tasks.families=null")


def test_seeds_of_cycles_do_not_overlap(run: Job, tmp_path: Path) -> None:
    for seed in (0, 1):
        run("stream=cycles", "stream.cycles=2", "data=all", "data.examples=4", f"seed={seed}")
    mixes = [path.read_text() for path in sorted(tmp_path.glob("outputs/job-*/cycle-*/mix.jsonl"))]
    assert len(mixes) == 4 == len(set(mixes))
    page = (tmp_path / "outputs/job-0/report.md").read_text()
    for step in ("cycle-1", "cycle-2"):  # each cycle with its own mix, and not the last one's
        mix = Mix(read_tasks(tmp_path / f"outputs/job-0/{step}/mix.jsonl", needs_tests=False), {})
        (line,) = [line for line in page.splitlines() if f"training mix of {step}" in line]
        assert mix.digest in line


def test_the_gate_does_not_choose_by_what_is_reported_on(run: Job) -> None:
    with pytest.raises(ConfigError, match=r"are frozen and in koans.*which is reported on"):
        run("gate.tasks=exam")
    found = run("tasks=koans_val", "tasks.per_level=1", "gate.tasks=exam")
    assert found.data.metrics["gate/koans"] == 3


@pytest.fixture
def each(run: Job) -> Any:
    """A run that trained an adapter for each of two patterns."""
    words = ["stream=each", f"stream.patterns=[{','.join(PATTERNS)}]", "stream.measure=true", "merge=average"]
    words += ["tasks=patterns", "tasks.per_level=1", "data.examples=2", "stages=[fetch,prove,baseline,train]"]
    return run(*words)


def test_adapters_of_patterns_are_combined_and_routed(run: Job, each: Any, tmp_path: Path) -> None:
    children = [r for r in runs(tmp_path) if r.data.tags.get("mlflow.parentRunId") == each.info.run_id]
    assert [c.info.run_name for c in children] == PATTERNS
    assert all(c.data.metrics["own/koans"] >= 1 and "train/loss" in c.data.metrics for c in children)
    given = ["stream=given", f"stream.adapters=[runs:/{each.info.run_id}]", "algo=none", "tasks=patterns"]
    digests = set()
    for merge in ("average", "linear", "cat", "svd", "ties", "dare_ties"):
        found = run(*given, f"merge={merge}")
        digests.add(found.data.tags["adapter.digest"])
        assert (artifacts(found) / "adapter" / "adapter_config.json").is_file()
    assert len(digests) == 6
    for routing in ("oracle", "error_code", "nearest"):
        found = run(*given, f"routing={routing}")
        assert "routing/right" in found.data.metrics and "adapter.digest" not in found.data.tags
        assert {p.stem for p in (artifacts(found) / "export" / "adapters").iterdir()} == set(PATTERNS)
    found = run(*given, "routing=arrow", "engine=transformers")
    assert found.data.metrics["routing/mixed"] == found.data.metrics["eval/tasks"]
    shared = run(*given, "algo=share", "merge=average")
    assert 0 < shared.data.metrics["share/error"] < 1 and shared.data.metrics["adapters"] == 2


def test_without_a_model_nothing_is_loaded(run: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.rs").write_text("pub fn f(v: Vec<u8>) -> usize {\n    let w = v;\n    v.len() + w.len()\n}\n")
    monkeypatch.setattr("sleepy.engines.llama_cpp.LlamaCpp.open", lambda *_: pytest.fail("a model was loaded"))
    found = run("repair=rustfix", "stages=[fetch,prove,baseline]")
    assert found.data.metrics["baseline/tasks"] == 3 and found.data.metrics["baseline/prompt_tokens"] == 0
    run("repair=rustfix", "stages=[repair]", "file=mine.rs", "write=true")
    assert "let w = v.clone();" in (tmp_path / "mine.rs").read_text()
    with pytest.raises(ConfigError, match="asks no model"):
        run("repair=rustfix")


@pytest.fixture
def killed(run: Job, monkeypatch: pytest.MonkeyPatch) -> Job:
    """`killed(words)`: the same job, ended in its second training step; a checkpoint of the first is left."""

    def job(*words: str) -> None:
        def ended(algorithm: Any, trainer: Any) -> None:
            if trainer.step:
                raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr("sleepy.train.sft.Sft.after_step", ended)
            with pytest.raises(KeyboardInterrupt):
                run("train.steps=3", "train.checkpoint_every=1", *words)

    return job


def test_what_changes_no_number_does_not_keep_a_killed_run_from_its_checkpoint(
    run: Job, killed: Job, capsys: pytest.CaptureFixture[str]
) -> None:
    killed()
    run("train.steps=3", "train.checkpoint_every=2", "device=auto")
    shown = capsys.readouterr().err
    assert "Resuming after step 1 " in shown and "Starting anew" not in shown


def test_a_checkpoint_that_does_not_fit_is_named_with_what_differs(
    run: Job, killed: Job, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    killed()
    (folder,) = (tmp_path / "outputs/checkpoints").iterdir()
    run("train.steps=3", "train.lr=0.02", "algo=sam")
    assert "Starting anew" not in capsys.readouterr().err  # another algorithm's
    run("train.steps=3", "train.lr=0.02", "lora.alpha=8")
    place = folder.relative_to(tmp_path)
    differing = "differs in lora.alpha (16.0, now 8.0), train.lr (0.01, now 0.02)\n"
    assert f"Starting anew: the unfinished checkpoint {place} (step 1 of 3) {differing}" in capsys.readouterr().err


def test_what_can_be_known_early_is_said_early(run: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"no linear layer called v_porj. Did you mean v_proj"):
        run("lora.target_modules=[q_proj,v_porj]")
    assert "baseline/tasks" not in runs(tmp_path)[-1].data.metrics and not (tmp_path / "episodes.db").exists()
    count = len(runs(tmp_path))
    with pytest.raises(ConfigError, match=r"tasks\.path: got mine\.jsonl, but there is no such file"):
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
    assert "no adapter: none is promoted" in capsys.readouterr().err
