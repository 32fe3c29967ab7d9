"""Do adapters of different tasks live in one small subspace? The hypothesis of universal weight subspaces (Kaushik et
al. 2025, arXiv 2512.05117), asked of one's own adapters, with chance and the mean adapter beside every figure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sleepy.adapters.folder import read_all
from sleepy.artifacts import digest_of_file
from sleepy.errors import ConfigError, ModelError
from sleepy.options import ranged
from sleepy.pairs.builtin import load_pairs
from sleepy.progress import Stages
from sleepy.subspace.findings import Findings, families, find, groups, make_plan
from sleepy.subspace.page import metrics, page, show

FEWEST = 4  # adapters: two in each half


@dataclass(frozen=True, kw_only=True)
class Subspace:
    """What `stages=[subspace]` analyses, and how thoroughly.

    runs: at least four adapters of one base model: PEFT folders, folders of such, MLflow runs (ids or runs:/<id>; a
        parent stands for its children).
    variance: share of the variance that decides how many directions stand for a set of adapters, where angles are
        measured and one number is shown (above 0, at most 0.99).
    folds: sets of adapters held out in turn (at least 2; 0: every adapter alone).
    splits: random divisions into two halves whose angles are averaged (at least 1).
    draws: random adapters to compare with, as many sets (at least 1).
    dpi: resolution of the pictures, dots an inch, from 50 to 400.
    """

    runs: list[str] = field(default_factory=list)
    variance: float = ranged(0.6, above=0, at_most=0.99)
    folds: int = ranged(5, at_least=0)
    splits: int = ranged(3, at_least=1)
    draws: int = ranged(3, at_least=1)
    dpi: int = ranged(120, at_least=50, at_most=400)

    def problems(self) -> list[str]:
        """What the fields' own bounds cannot say."""
        return ["folds: found 1, expected at least 2, or 0 for every adapter alone"] if self.folds == 1 else []

    def analyse(self, folders: Mapping[str, Path], seed: int, stages: Stages) -> Findings:
        """Measure the adapters in `folders`. Raises ConfigError where they are too few or one is there twice, and
        ModelError where one cannot be read, does nothing, or does not fit the others."""
        import numpy as np

        names = list(folders)
        if len(names) < FEWEST:
            raise ConfigError(
                f"subspace.runs: found {len(names)} adapter{'' if len(names) == 1 else 's'}"
                f"{': ' * bool(names)}{', '.join(names)}, expected at least {FEWEST} of one base model, from PEFT "
                "folders, folders of such or MLflow runs: subspace.runs=[multirun,runs:/<id>]"
            )
        with stages.stage("read", unit="model"):
            adapters = read_all(folders)
            _check_twins(folders)
        records = [_record(folder) for folder in folders.values()]
        bases = {str(r["base_digest"]): name for name, r in zip(names, records, strict=True) if "base_digest" in r}
        if len(bases) > 1:
            raise ModelError(
                f"subspace.runs: found adapters of {len(bases)} base models ({', '.join(bases.values())}), expected "
                "those of one: leave out the others"
            )
        seeds = [str(r.get("seed", "")) for r in records]
        rng = np.random.default_rng(seed)
        labels = {"families": groups(families(names, load_pairs())), "seeds": groups(seeds)}
        plan = make_plan(
            len(names),
            max(len(a) for factors in adapters.values() for _, a in factors.values()),
            self.variance,
            self.folds,
            self.splits,
            {grouping: found for grouping, found in labels.items() if found},
            rng,
        )
        with stages.stage("subspace", len(adapters[names[0]]), "layer") as done:
            return find(adapters, sorted(set(seeds)), plan, self.draws, rng, done)

    def write(self, folder: Path, findings: Findings) -> list[Path]:
        """Write subspace.md, the pictures beside it and subspace.json into `folder`; the page is the first."""

        folder.mkdir(parents=True, exist_ok=True)
        pictures = {name: folder / f"subspace_{name}.png" for name in ("spectrum", "angles", "held_out", "mean")}
        from sleepy.subspace import plots

        for name, path in pictures.items():
            getattr(plots, name)(findings).savefig(path, dpi=self.dpi)
        written, numbers = folder / "subspace.md", folder / "subspace.json"
        written.write_text(page(findings, {name: path.name for name, path in pictures.items()}), encoding="utf-8")
        findings.write(numbers)
        return [written, numbers, *pictures.values()]

    def metrics(self, findings: Findings) -> dict[str, float]:
        """The headline figures as MLflow's metrics."""
        return metrics(findings)

    def show(self, findings: Findings, written: Path, ui_line: str) -> None:
        """Print the headline figures on stdout, where the page is, and how MLflow's UI opens."""
        show(findings, {"page": str(written), "MLflow": ui_line})


def _check_twins(folders: Mapping[str, Path]) -> None:
    """Raises ConfigError for one adapter in two places, which would look like two that agree."""
    seen: dict[str, str] = {}
    for name, folder in folders.items():
        digest = digest_of_file(folder / "adapter_model.safetensors")
        if digest in seen:
            raise ConfigError(f"subspace.runs: {seen[digest]} and {name} are the same adapter: leave one out")
        seen[digest] = name


def _record(folder: Path) -> dict[str, Any]:
    """What sleepy wrote down about an adapter that it trained; {} for one from elsewhere."""
    try:
        return dict(json.loads((folder / "sleepy.json").read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return {}
