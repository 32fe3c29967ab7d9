"""transformers: the merged weights as they are, before quantisation."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Any

from sleepy.algo._device import pick_device, pick_dtype
from sleepy.artifacts import Completion, Prompt, Served
from sleepy.engines._engine import cut
from sleepy.errors import EngineError
from sleepy.schema import choice


@dataclass(frozen=True, kw_only=True)
class Transformers:
    """Greedy decoding, one prompt at a time.

    device: "auto" (CUDA, else Apple's MPS, else the CPU), "cpu", "cuda" or "mps".
    precision: "auto" (bf16 where the device computes in it), "bf16" or "fp32".
    """

    device: str = choice("auto", "cpu", "cuda", "mps")
    precision: str = choice("auto", "bf16", "fp32")

    @contextmanager
    def open(self, model: Served) -> Iterator[TransformersSession]:
        """See Engine.open."""
        from transformers import AutoModelForCausalLM, AutoTokenizer

        device = pick_device(self.device)
        try:
            loaded = AutoModelForCausalLM.from_pretrained(model.weights, dtype=pick_dtype(self.precision, device))
            tokenizer = AutoTokenizer.from_pretrained(model.weights)
        except (OSError, ValueError) as error:
            raise EngineError(f"transformers cannot load {model.weights}: {error}") from error
        yield TransformersSession(loaded.to(device).eval(), tokenizer)

    def identity(self) -> dict[str, object]:
        """See Engine.identity."""
        return {"engine": "transformers", "version": version("transformers"), "torch": version("torch"), **asdict(self)}


class TransformersSession:
    """A loaded Hugging Face model."""

    def __init__(self, model: Any, tokenizer: Any) -> None:
        self._model, self._tokenizer = model, tokenizer

    def generate(self, prompts: Sequence[Prompt], done: Callable[[], object] = lambda: None) -> list[Completion]:
        """See Session.generate."""
        found = []
        for prompt in prompts:
            found.append(self._complete(prompt))
            done()
        return found

    def _complete(self, prompt: Prompt) -> Completion:
        import torch

        start = time.perf_counter()
        head = self._tokenizer.apply_chat_template(list(prompt.messages), tokenize=False, add_generation_prompt=True)
        inputs = self._tokenizer(head + prompt.prefill, add_special_tokens=False, return_tensors="pt").to(
            self._model.device
        )
        given = inputs["input_ids"].shape[1]
        with torch.inference_mode():
            out = self._model.generate(
                **inputs,
                do_sample=False,
                max_new_tokens=prompt.max_tokens,
                stop_strings=list(prompt.stop) or None,
                tokenizer=self._tokenizer,
                pad_token_id=self._tokenizer.eos_token_id,
            )
        answer = out[0, given:]
        text, _ = cut(self._tokenizer.decode(answer, skip_special_tokens=True), prompt.stop)
        return Completion(text, given, len(answer), time.perf_counter() - start)
