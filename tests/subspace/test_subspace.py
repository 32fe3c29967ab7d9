"""Adapters in folders, and what is found of them: numbers, page, pictures and metrics."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from matplotlib.image import imread

from sleepy.adapters.folder import read_lora, write_lora
from sleepy.errors import ConfigError, ModelError
from sleepy.pairs.builtin import load_pairs
from sleepy.progress import Stages
from sleepy.subspace import plots
from sleepy.subspace.analysis import fewest
from sleepy.subspace.findings import families, groups
from sleepy.subspace.page import PICTURES, metrics, page, show, warnings
from sleepy.subspace.subspace import Subspace
from tests.report.made import check_texts

NAMES = ("use_after_move", "missing_mut", "len_zero", "ptr_arg", "question_mark")  # two families
SHAPES = {"self_attn.q_proj": (12, 10), "mlp.down_proj": (10, 16)}
CONFIG, TENSORS, RECORD = "adapter_config.json", "adapter_model.safetensors", "sleepy.json"


def adapter(place: Path, number: int, common: float = 0.0, **record: object) -> Path:
    """A PEFT folder of rank 2 over two blocks, which starts from `common` times what all share."""
    factors = {}
    for i in range(2):
        for j, (layer, (n, d)) in enumerate(SHAPES.items()):
            shared, own = (torch.Generator().manual_seed(s) for s in (10 * i + j, 1000 + 100 * number + 10 * i + j))
            draw = [common * torch.randn(size, generator=shared) for size in ((n, 2), (2, d))]
            b, a = (x + torch.randn(x.shape, generator=own) for x in draw)
            factors[f"model.layers.{i}.{layer}"] = b, a
    write_lora(factors, place, "tiny")
    (place / RECORD).write_text(json.dumps({"seed": 0, "base_digest": "one", **record}))
    return place


@pytest.fixture
def folders(tmp_path: Path) -> dict[str, Path]:
    return {name: adapter(tmp_path / "adapters" / name, i, common=3) for i, name in enumerate(NAMES)}


def test_what_is_found_is_written_and_shown(folders: dict[str, Path], tmp_path: Path, capsys) -> None:
    option = Subspace(draws=2, dpi=60)
    found = option.analyse(folders, 0, Stages())
    files = option.write(tmp_path / "out", found)
    show(found, {"page": str(files[0])})
    shown = capsys.readouterr().out
    for words in ("5 adapters, means over 4 layers", "along the mean of the others", "trained with seed 0"):
        assert words in shown
    assert f"page     {files[0]}\n" in shown
    headline = metrics(found)
    assert headline["subspace/adapters"] == 5 and headline["subspace/layers"] == 4
    assert headline["subspace/out/k"] < headline["subspace/null/out/k"] and "subspace/in/angle/families" in headline
    assert headline["subspace/update/mean"] > 0.5 > headline["subspace/null/update/mean"]
    numbers = json.loads((tmp_path / "out/subspace.json").read_text())
    assert numbers["all_layers"]["out/k/60"]["found"] == headline["subspace/out/k"]
    assert len(numbers["all_layers"]["out/k/60"]["null"]) == 2 and len(numbers["curves"]["q"]["in/explained"]) == 2
    assert numbers["groups"] == {"families": {"borrow_checker": [0, 1], "style_and_edition": [2, 3, 4]}}
    layers = {(layer["kind"], layer["depth"]): layer["numbers"] for layer in numbers["layers"]}
    assert set(layers) == {(kind, depth) for kind in ("q", "down") for depth in (0, 1)}
    assert len(layers["q", 1]["update/mean"]) == 3
    text = files[0].read_text()
    assert "| borrow_checker (2) |" in text
    for name in PICTURES:
        assert f"(subspace_{name}.png)" in text
        assert imread(tmp_path / f"out/subspace_{name}.png")[..., :3].std() > 0.02
        check_texts(getattr(plots, name)(found))


def test_pictures_show_each_layer_beside_chance(folders: dict[str, Path]) -> None:
    found = Subspace(draws=1).analyse(folders, 0, Stages())
    axes = plots.angles(found).axes[0]
    chance, own = (list(line.get_ydata()) for line in axes.lines)
    assert own == [layer.numbers["out/angle/halves"][0] for layer in found.layers]
    assert chance == [layer.numbers["out/angle/halves"][1] for layer in found.layers]
    own, rest, chance = (line.get_ydata() for line in plots.spectrum(found).axes[0].lines)  # of q's B
    assert own[0] == 0 and list(own[1:]) == pytest.approx(list(100 * found.curve("out/explained", "q")[0]))
    assert chance[1] < rest[1] < own[1]
    cells = plots.held_out(found).axes[2].images[0].get_array()  # of dW: types down, depth across
    lost = {(layer.kind, layer.depth): layer.numbers["update/held_out/60"][0] for layer in found.layers}
    assert cells.tolist() == [[pytest.approx(100 * lost[kind, depth]) for depth in (0, 1)] for kind in ("q", "down")]


def test_every_layer_has_its_own_columns(folders: dict[str, Path]) -> None:
    found = Subspace(draws=2).analyse(folders, 0, Stages())
    read = [read_lora(folder) for folder in folders.values()]
    for layer in found.layers:
        stacks = {"out": [f[layer.name][0] for f in read], "in": [f[layer.name][1].T for f in read]}
        for side, columns in stacks.items():
            squares = torch.linalg.svdvals(torch.cat(columns, 1)).numpy() ** 2
            assert layer.numbers[f"{side}/k/80"][0] == fewest(squares, 0.8)
            rest = torch.stack(columns) - torch.stack(columns).mean(0)
            assert layer.numbers[f"{side}/mean"][0] == pytest.approx(
                1 - float((rest**2).sum()) / squares.sum(), abs=1e-5
            )
    every = [layer.numbers["out/mean"] for layer in found.layers]
    assert (found.of("out/mean")[0], *found.of("out/mean")[1]) == pytest.approx(sum(every) / 4)
    own = [layer.numbers["out/mean"][0] for layer in found.layers if layer.kind == "q"]
    assert found.of("out/mean", "q")[0] == pytest.approx(sum(own) / 2)
    curves = [found.curve("in/explained", kind) for kind in ("q", "down")]
    for i in (0, 1):  # found, and null
        assert found.curve("in/explained")[i] == pytest.approx((curves[0][i] + curves[1][i]) / 2)


def test_the_same_seed_finds_the_same(folders: dict[str, Path], tmp_path: Path) -> None:
    option = Subspace(draws=1, splits=1)
    first, again, other = (metrics(option.analyse(folders, seed, Stages())) for seed in (0, 0, 1))
    assert first == again != other


def test_a_page_says_what_it_is_of(folders: dict[str, Path], tmp_path: Path) -> None:
    adapter(folders["len_zero"], 2, common=3, seed=1)
    (folders["ptr_arg"] / RECORD).unlink()  # from elsewhere
    found = Subspace(draws=1, variance=0.7, folds=0).analyse(folders, 0, Stages())
    text = page(found, dict.fromkeys(PICTURES, "a.png"))
    assert "directions for 70 % of the variance" in text and "5 sets of up to 1," in text and "Note" not in text
    assert all(f"- {name}\n" in f"{text}\n" for name in NAMES) and found.kinds == ["q", "down"]
    assert found.seeds == ("", "0", "1")
    noted = [bool(warnings(replace(found, seeds=seeds))) for seeds in (("0",), ("",), ("0", "1"))]
    assert noted == [True, False, False]


def test_what_cannot_be_compared_is_refused(folders: dict[str, Path], tmp_path: Path) -> None:
    option = Subspace(draws=1)

    def refused(error: type[Exception], words: str, extra: dict[str, Path]) -> None:
        with pytest.raises(error, match=words):
            option.analyse(extra, 0, Stages())

    three = dict(list(folders.items())[:3])
    refused(
        ConfigError, r"at least 4 adapters of one base model, not 3 \(use_after_move, missing_mut, len_zero\)", three
    )
    refused(ConfigError, r"at least 4 adapters of one base model, not 0 \(none\)", {})
    refused(ConfigError, "len_zero and twin are the same adapter", {**folders, "twin": adapter(tmp_path / "t", 2, 3)})
    other = adapter(tmp_path / "other", 9, base_digest="two")
    refused(ModelError, r"belong to 2 base models \(for example question_mark, other\)", {**folders, "other": other})
    empty = adapter(tmp_path / "empty", 9)
    from safetensors.torch import load_file, save_file

    tensors = load_file(empty / TENSORS)
    save_file({k: t * 0 if "lora_B" in k and "layers.1" in k else t for k, t in tensors.items()}, empty / TENSORS)
    refused(ModelError, "empty: changes nothing in model.layers.1.mlp.down_proj", {**folders, "empty": empty})
    save_file({k: t / 0 for k, t in tensors.items()}, empty / TENSORS)
    refused(ModelError, r"empty.*not finite", {**folders, "empty": empty})


def test_names_tell_families() -> None:
    names = ["3-use_after_move", "data.patterns=[len_zero] seed=1", "borrow_checker", "adapter", "len_zero missing_mut"]
    assert families(names, load_pairs()) == ["borrow_checker", "style_and_edition", "borrow_checker", "", ""]
    assert groups(["a", "", "b", "a", "b", "", "c"]) == {"a": (0, 3), "b": (2, 4)}
    assert groups(["a", "a", "b", ""]) == {}


def test_one_fold_is_refused() -> None:
    assert Subspace(folds=1).problems() and not Subspace(folds=0).problems() and not Subspace().problems()
