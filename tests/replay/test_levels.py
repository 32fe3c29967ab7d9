"""Adapters that differ by little, by much, and from which step on."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from sleepy.adapters.folder import digest_in, write_lora
from sleepy.replay.levels import distance, from_level, levels, reached
from sleepy.replay.lines import line_of
from sleepy.replay.made import Made


def adapter(folder: Path, change: float) -> Path:
    """A PEFT folder with two layers; `change` is what the update is away from that of 0, relative to it."""
    torch.manual_seed(0)
    layers = {name: (torch.randn(12, 4), torch.randn(4, 20)) for name in ("model.a.q_proj", "model.b.q_proj")}
    write_lora({name: (b * (1 + change), a) for name, (b, a) in layers.items()}, folder, "tiny")
    return folder


def made(folder: Path, losses: list[float]) -> Made:
    return Made({}, {"adapter": digest_in(folder)}, {"": losses}, {}, {}, {}, {"adapter": folder})


@pytest.mark.parametrize("change", [0.0, 1e-4, 0.3])
def test_the_distance_of_two_updates_is_relative(tmp_path: Path, change: float) -> None:
    first, second = adapter(tmp_path / "a", 0), adapter(tmp_path / "b", change)
    assert distance(first, second) == pytest.approx(change, rel=1e-3, abs=1e-7)


def test_rounding_is_told_from_another_adapter_and_from_a_step_on(tmp_path: Path) -> None:
    first = made(adapter(tmp_path / "a", 0), [3.0, 2.0, 1.0])
    near = made(adapter(tmp_path / "b", 1e-3), [3.0, 2.5, 1.0])
    far = made(adapter(tmp_path / "c", 0.5), [3.0, 2.0, 1.0])
    bits, rounded = levels(first, near)
    assert bits.state == "differs" and rounded.state == "same"
    assert rounded.note == "0.1 % apart; the loss differs from step 2 of 3 on"
    assert reached([bits, rounded]) == "rounding" and from_level([bits, rounded], "rounding") == [rounded]
    _, rounded = levels(first, far)
    assert (rounded.state, rounded.note) == ("differs", "50 % apart; the losses of all steps are the same")
    _, rounded = levels(Made(**first.data), near)
    assert rounded.state == "unknown" and "no tensors" in rounded.note


def test_what_only_one_of_two_has_is_named() -> None:
    assert line_of("x", "a==1 b==2", "a==1 b==3").note == "was b==2, now b==3"
    assert line_of("x", None, "a").state == line_of("x", "a", None).state == "unknown"
