"""Do adapters of different tasks lie in one small subspace? The hypothesis of universal weight subspaces (Kaushik et
al. 2025, arXiv 2512.05117), tested on one's own adapters, with chance and the mean adapter beside every figure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from sleepy import figures
from sleepy.adapters.folder import read_all
from sleepy.artifacts import digest_of_file
from sleepy.errors import ConfigError, ModelError
from sleepy.files import read_json, write_text
from sleepy.options import ranged
from sleepy.pairs.builtin import load_pairs
from sleepy.progress import Stages
from sleepy.subspace.analysis import draw_sets
from sleepy.subspace.findings import Findings, families, groups, measure_layers
from sleepy.subspace.page import PICTURES, page

FEWEST = 4  # adapters: two in each half


@dataclass(frozen=True, kw_only=True)
class Subspace:
    """What `stages=[subspace]` analyses, and how thoroughly.

    runs: at least four adapters of one base model: PEFT folders, folders of them, or MLflow runs (ids or runs:/<id>; a
        parent stands for its children).
    variance: share of the variance that decides how many directions stand for a set of adapters, where angles are
        measured and one number is shown (above 0, at most 0.99).
    folds: number of sets of adapters that are held out in turn (at least 2; 0 holds out every adapter alone).
    splits: number of random divisions into two halves. Angles are averaged over them (at least 1).
    draws: number of sets of random adapters to compare with (at least 1).
    dpi: resolution of the pictures in dots per inch (50 to 400).
    """

    runs: list[str] = field(default_factory=list)
    variance: float = ranged(0.6, above=0, at_most=0.99)
    folds: int = ranged(5, at_least=0)
    splits: int = ranged(3, at_least=1)
    draws: int = ranged(3, at_least=1)
    dpi: int = ranged(120, at_least=50, at_most=400)

    def problems(self) -> list[str]:
        """What the fields' own bounds cannot say."""
        return ["folds must be at least 2, or 0 to hold out each adapter by itself, not 1"] if self.folds == 1 else []

    def analyse(self, folders: Mapping[str, Path], seed: int, stages: Stages) -> Findings:
        """Measure the adapters in `folders` (name -> PEFT folder).

        Raises ConfigError if there are too few or one is there twice, and ModelError if one cannot be read, does
        nothing, or does not fit the others.
        """
        import numpy as np

        names = list(folders)
        if len(names) < FEWEST:
            raise ConfigError(
                f"subspace.runs must name at least {FEWEST} adapters of one base model, not {len(names)} "
                f"({', '.join(names) or 'none'}). Name PEFT folders, folders of them or MLflow runs, for example "
                "subspace.runs=[multirun,runs:/<id>]"
            )
        with stages.stage("read", unit="model"):
            adapters = read_all(folders)
            _check_twins(folders)
        # What sleepy wrote about an adapter that it trained; empty for one from elsewhere.
        records = [read_json(folder / "sleepy.json") for folder in folders.values()]
        bases = {str(r["base_digest"]): name for name, r in zip(names, records, strict=True) if "base_digest" in r}
        if len(bases) > 1:
            raise ModelError(
                f"subspace.runs: these adapters belong to {len(bases)} base models (for example "
                f"{', '.join(bases.values())}). Analyse the adapters of one base model at a time"
            )
        seeds = [str(r.get("seed", "")) for r in records]
        rng = np.random.default_rng(seed)
        labels = {"families": groups(families(names, load_pairs())), "seeds": groups(seeds)}
        known = {grouping: found for grouping, found in labels.items() if found}
        sets = draw_sets(len(names), self.folds, self.splits, known, rng)
        with stages.stage("subspace", len(adapters[names[0]]), "layer") as done:
            layers = measure_layers(adapters, sets, self.variance, self.draws, rng, done)
        return Findings(tuple(names), tuple(sorted(set(seeds))), sets, self.variance, layers)

    def write(self, folder: Path, findings: Findings) -> list[Path]:
        """Write subspace.md, the pictures beside it and subspace.json into `folder`; the page is the first of the
        files that are returned. Raises DiskError."""
        from sleepy.subspace import plots

        pictures = {name: folder / f"subspace_{name}.png" for name in PICTURES}
        for name, path in pictures.items():
            figures.save(getattr(plots, name)(findings), path, self.dpi)
        written, numbers = folder / "subspace.md", folder / "subspace.json"
        write_text(written, page(findings, {name: path.name for name, path in pictures.items()}))
        findings.write(numbers)
        return [written, numbers, *pictures.values()]


def _check_twins(folders: Mapping[str, Path]) -> None:
    """Raises ConfigError if one adapter is in two places: the two would seem to agree."""
    seen: dict[str, str] = {}
    for name, folder in folders.items():
        digest = digest_of_file(folder / "adapter_model.safetensors")
        if digest in seen:
            raise ConfigError(f"subspace.runs: {seen[digest]} and {name} are the same adapter. Leave one out")
        seen[digest] = name
