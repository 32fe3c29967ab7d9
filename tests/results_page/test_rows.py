from __future__ import annotations

from pathlib import Path

from sleepy.results_page.differences import Draws, differences
from sleepy.results_page.koans import columns
from sleepy.results_page.rows import axes, rows
from sleepy.results_page.words import commands, provenance, sentence
from tests.results_page.made import exam, job, scores, sweep

KOANS = exam(6)
BEFORE, AFTER = scores(KOANS, lambda i: False), scores(KOANS, lambda i: i < 3)


def jobs_of(*lines: str) -> list[object]:
    return [job(Path(), line.split(), BEFORE, AFTER, number=i + 1) for i, line in enumerate(lines)]


def test_runs_that_differ_in_the_seed_alone_are_one_row(tmp_path: Path) -> None:
    found = rows(sweep(tmp_path).jobs)
    assert [row.label for row in found] == [
        f"algo={algo} train.lr={rate}" for algo in ("naive", "replay") for rate in ("0.0001", "0.001")
    ]
    assert {row.seeds for row in found} == {("0", "1", "2")}


def test_axes_are_what_runs_differ_in_and_was_typed() -> None:
    assert axes(jobs_of("algo=naive train.lr=0.1 cache=/a seed=1", "algo=sam train.lr=0.1 cache=/b seed=2")) == (
        "algo",
    )
    # a default that one of them spells out is no difference
    assert axes(jobs_of("train.lr=0.0001", "seed=1")) == axes(jobs_of("algo=naive", "seed=1")) == ()
    assert axes(jobs_of("train.lr=0.0001", "train.lr=0.1")) == ("train.lr",)


def test_runs_that_are_the_same_in_all_are_told_apart_by_their_ids() -> None:
    made = rows([job(Path(), ["algo=naive"], BEFORE, AFTER, number=n << 120) for n in (0xAB, 0xCD)])
    assert [row.label for row in made] == ["run=ab000000", "run=cd000000"]


def test_a_run_is_paired_with_its_own_untouched_model() -> None:
    other = scores(KOANS, lambda i: i == 5, model="other")
    made = rows([*jobs_of("model=a"), job(Path(), ["model=b"], other, AFTER, number=9)])
    assert [row.before for row in made] == [(BEFORE,), (other,)]
    shown = columns(made)
    assert [(c.label, c.row, c.against) for c in shown] == [
        ("untouched tiny", 0, None), ("untouched other", 0, None), ("model=a", 1, 0), ("model=b", 2, 1),
    ]  # fmt: skip


def test_without_results_the_first_row_is_what_others_are_paired_with() -> None:
    lines = enumerate((("repair=single_shot", BEFORE), ("repair=hints", AFTER)), 1)
    made = rows([job(Path(), [word], before, None, number=i) for i, (word, before) in lines])
    assert [row.before for row in made] == [(None,), (BEFORE,)]
    assert [c.against for c in columns(made)] == [None, 0]
    told = sentence(made, differences(made, Draws()), 0.3)
    assert "1 variant (repair) was compared with repair=single_shot on 6 koans" in told


def test_the_sentence_says_what_and_what_not(tmp_path: Path) -> None:
    made = rows(sweep(tmp_path).jobs)
    told = sentence(made, differences(made, Draws()), 0.312)
    assert told.startswith(
        "4 variants (algo × train.lr), 3 seeds each, were compared with the untouched tiny on 24 koans"
    )
    assert "2 are better and none is worse beyond chance" in told
    assert "a true difference of 31 points or more in four of five experiments" in told
    one = made[:1]
    assert sentence(one, differences(one, Draws()), 0.3).startswith("1 variant (algo × train.lr), 3 seeds each, was")
    assert "cannot show any difference" in sentence(made, differences(made, Draws()), float("inf"))


def test_every_run_has_its_command(tmp_path: Path) -> None:
    row = rows(sweep(tmp_path).jobs)[0]
    found = commands(row)
    assert [run for run, _ in found] == [job.run_id for job in row.jobs]
    assert found[1][1] == f"git checkout {'c0ffee' * 6}\npython run.py algo=naive train.lr=0.0001 seed=1"
    facts = dict(provenance(row))
    assert facts["code"] == "c0ffee" and facts["made with"] == "rustc 1.95.0, python 3.11.9, torch 2.13.0"
    assert facts["exam"].endswith(row.after[0].tasks_digest[:12])
