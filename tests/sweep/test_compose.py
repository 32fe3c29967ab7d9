"""Jobs composed together are what Hydra makes of each alone."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import OmegaConf

from sleepy.settings import register, settings
from sleepy.sweep.compose import Composer
from tests.jobs import ROOT

SWEEPS = {
    "values": [["experiment=smoke"], ["lora.r=8,16"], ["train.lr=1e-4,1e-3"], ["data.examples=3"]],
    "choices": [["algo=naive,share"], ["merge=none,ties"], ["gate=no_loss,not_worse"], ["seed=1"]],
    "experiments": [["experiment=smoke,sleep_cycle"], ["algo=naive,ewc"], ["gate.koans=2"]],
    "an experiment's own choices": [["experiment=adapters_51"], ["merge=cat,svd"], ["stream.limit=2,3"]],
    "added and merged": [["++debug=false"], ["++train.steps=3,4"], ["lora={r:2,alpha:3},{r:4}"], ["seed=1,2"]],
}


@pytest.fixture
def composer() -> Iterator[Composer]:
    register()
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        yield Composer(GlobalHydra.instance().config_loader(), "config")


def jobs(axes: list[list[str]]) -> list[tuple[str, ...]]:
    """Every combination. Commas in braces part no values."""
    choices = []
    for (axis,) in axes:
        key, _, values = axis.partition("=")
        parts = values.replace("},{", "}|{").split("|") if "{" in values else values.split(",")
        choices.append([f"{key}={value}" for value in parts])
    return list(itertools.product(*choices))


@pytest.mark.parametrize("axes", SWEEPS.values(), ids=SWEEPS)
def test_every_job_is_what_hydra_makes_of_it(axes: list[list[str]], composer: Composer) -> None:
    for job in jobs(axes):
        ours, theirs = composer.compose(job), compose("config", list(job))
        plain: list[Any] = [OmegaConf.to_container(config, resolve=False) for config in (ours, theirs)]
        assert plain[0] == plain[1] and settings(ours) == settings(theirs), job


def test_files_are_read_once_for_each_option_and_not_for_each_combination(
    composer: Composer, monkeypatch: pytest.MonkeyPatch
) -> None:
    loader, read = GlobalHydra.instance().config_loader(), []
    load = loader.load_configuration
    monkeypatch.setattr(loader, "load_configuration", lambda *a, **k: (read.append(a[1]), load(*a, **k))[1])
    every = [["algo=naive,ewc,sam,sure"], ["merge=none,ties,cat"], ["seed=0,1,2,3,4"]]
    for job in jobs(every):
        composer.compose(job)
    assert len(jobs(every)) == 60 and len(read) == 1 + 3 + 2


@pytest.mark.parametrize("wrong", ["lora.rr=8", "lora.r=much", "algo=nothing"])
def test_what_hydra_refuses_is_refused_in_every_job(wrong: str, composer: Composer) -> None:
    composer.compose(["seed=0"])
    for number in range(2):
        with pytest.raises(HydraException):
            composer.compose([f"seed={number}", wrong])


def test_jobs_do_not_change_each_other(composer: Composer, tmp_path: Path) -> None:
    first = composer.compose(["lora.target_modules=[q_proj]", "seed=0"])
    assert composer.compose(["seed=1"]).lora.target_modules == ["all-linear"]
    assert (first.lora.target_modules, first.seed) == (["q_proj"], 0)


def test_an_option_that_changes_more_than_its_group_is_composed_with_every_other(
    composer: Composer, tmp_path: Path
) -> None:
    (tmp_path / "algo").mkdir()
    (tmp_path / "algo" / "loud.yaml").write_text(
        "# @package _global_\ndefaults: [naive@algo, _self_]\nrepair: {shots: 3}\n"
    )
    place = f"hydra.searchpath=[{tmp_path.as_uri()!r}]"
    own = Composer(GlobalHydra.instance().config_loader(), "config", [place])
    for job in jobs([["algo=naive,loud"], ["merge=none,cat"]]):
        assert own.compose(job) == compose("config", [place, *job]), job
    assert own.compose(["algo=loud", "merge=cat"]).repair.shots == 3
