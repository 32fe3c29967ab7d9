"""What a file keeps of what its adapter does, asked of a real model."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sleepy.artifacts import BaseModel, GgufFile, Task
from sleepy.deliver.merge import merge
from sleepy.engines.llama_cpp import LlamaCpp
from sleepy.engines.openai import OpenAI
from sleepy.engines.transformers import Transformers
from sleepy.evaluate.candidates import Adapted, Exported
from sleepy.evaluate.examiner import Examiner
from sleepy.evaluate.recovery import Recovery, can_recover, recovery
from sleepy.gguf.write import write_f16
from sleepy.progress import Stages
from sleepy.repair.single_shot import SingleShot
from sleepy.sandbox.checker import Checker
from sleepy.train.batches import Example
from tests.adapters.made import random_adapter

LOGS = st.floats(-1e4, -1)


def test_the_adapter_merged_is_the_adapter_and_the_base_is_not(
    smollm2: BaseModel, checker: Checker, koan: Task, tmp_path: Path
) -> None:
    examiner = Examiner(
        engine=LlamaCpp(), repair=SingleShot(), judge=checker, known=tmp_path / "known",
        episodes=tmp_path / "episodes.db", run="r", scratch=tmp_path / "scratch", stages=Stages(),
    )  # fmt: skip
    repair = SingleShot()
    prompt = repair.first(koan, checker.check(*koan.broken_job))
    examples = [Example(prompt, repair.answer(text)) for text in (koan.fix, koan.broken, koan.fix + "// once more\n")]
    adapter = random_adapter(smollm2, tmp_path / "adapter", 0.2)
    adapted = Adapted(smollm2, adapter)
    merged = tmp_path / "merged.gguf"
    write_f16(merge(adapter, smollm2, tmp_path / "merged"), smollm2, merged, {})

    whole = recovery(examiner, Exported(smollm2, GgufFile.of(merged, "f16"), adapted), adapted, examples, 2)
    none = recovery(examiner, Exported(smollm2, GgufFile.of(smollm2.gguf, "q4_1"), adapted), adapted, examples, 9)
    assert (whole.answers, none.answers) == (2, 3)
    assert none.file == none.base != none.hot
    assert abs(whole.file - whole.hot) < 0.1 * abs(whole.hot - whole.base)


@given(LOGS, LOGS, st.floats(-0.5, 1.5))
def test_the_share_is_the_part_of_the_way_from_base_to_adapter(base: float, hot: float, part: float) -> None:
    found = Recovery(3, base, hot, base + part * (hot - base))
    if hot - base <= 0.05 * abs(base):
        assert found.share is None and "keeps" not in found.line
    else:
        assert found.share == pytest.approx(part, abs=1e-6) and f"keeps {found.share:.0%} of" in found.line


def test_which_engines_can_be_asked() -> None:
    assert can_recover(LlamaCpp()) and not can_recover(Transformers()) and not can_recover(OpenAI())
