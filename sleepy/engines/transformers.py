"""transformers: the Hugging Face weights as they are, before quantisation."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from sleepy.artifacts import Completion, Departure, Prompt, Served
from sleepy.engines.arrow import add_arrow, arrow_settings
from sleepy.engines.departures import Departures
from sleepy.engines.engine import NONE_KNOWN, Done, Engine, Known, ignore, in_depth, rooms, up_to_stop
from sleepy.engines.hot import check_fit, hot_adapter
from sleepy.errors import EngineError
from sleepy.models.head import contiguous_head
from sleepy.options import choice
from sleepy.train.device import pick_device, pick_dtype


@dataclass(frozen=True, kw_only=True)
class Transformers(Engine):
    """Answers one prompt at a time.

    device: "auto" is CUDA, else Apple's MPS, else the CPU.
    precision: "auto" is bf16 where the device computes in it, else fp32.
    """

    device: str = choice("auto", "cpu", "cuda", "mps")
    precision: str = choice("auto", "bf16", "fp32")

    reads_gguf: ClassVar[bool] = False
    tells_chances: ClassVar[bool] = True
    packages: ClassVar[tuple[str, ...]] = ("transformers", "torch")

    def check_machine(self) -> None:
        """See Engine.check_machine."""
        super().check_machine()
        pick_device(self.device)

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
        contiguous_head(loaded)
        yield TransformersSession(loaded.to(device).eval(), tokenizer, model)


class TransformersSession:
    """A loaded Hugging Face model. PEFT adds an adapter to its layers when a prompt first names it."""

    def __init__(self, model: Any, tokenizer: Any, served: Served) -> None:
        self._model, self._tokenizer, self._served = model, tokenizer, served
        self._weights = {name: tuple(weight.shape) for name, weight in model.named_parameters()}  # PEFT renames them
        ends = model.generation_config.eos_token_id
        self._ends = ends if isinstance(ends, list) else [ends]
        self._peft: Any = None
        self._loaded: dict[str, str] = {}  # name -> PEFT's name, which may not have a dot

    def generate(self, prompts: Sequence[Prompt], done: Done = ignore, known: Known = NONE_KNOWN) -> list[Completion]:
        """See Session.generate."""
        for name in dict.fromkeys(p.adapter for p in prompts):
            if name and name not in self._loaded:
                settings = arrow_settings(name)
                self._loaded[name] = self._load_all(*settings) if settings else self._load(name)
        found = dict(known)
        for place, prompt in enumerate(prompts):
            if place not in known:
                with self._with_adapter(prompt.adapter):
                    found[place] = in_depth(place, prompt, self._complete, done)
        return [found[place] for place in range(len(prompts))]

    def _load_all(self, top_k: int, temperature: float) -> str:
        """PEFT's name of an Arrow router over all adapters. Raises EngineError when there is none, and as `_load` and
        `add_arrow` do."""
        names = [adapter.name for adapter in self._served.adapters]
        if not names:
            raise EngineError(f"Arrow needs at least one adapter, but {self._served.name} is served without any")
        self._loaded |= {name: self._load(name) for name in names if name not in self._loaded}
        return add_arrow(self._peft, {name: self._loaded[name] for name in names}, top_k, temperature)

    def _load(self, name: str) -> str:
        """PEFT's name of an adapter, now in memory.

        Raises EngineError for one that is unknown, missing, damaged, or of another base model.
        """
        from peft import PeftConfig, PeftModel
        from safetensors import SafetensorError, safe_open

        adapter = hot_adapter(self._served, name)
        folder, inner = adapter.folder, f"hot{self._served.adapters.index(adapter)}"
        path = folder / "adapter_model.safetensors"
        if not (folder / "adapter_config.json").is_file() or not path.is_file():
            raise EngineError(f"{folder} holds no PEFT adapter (adapter_config.json, {path.name}): train it again")
        try:
            with safe_open(path, "pt") as tensors:
                shapes = {
                    key.removeprefix("base_model.model."): tuple(tensors.get_slice(key).get_shape())
                    for key in list(tensors.keys())
                }
            check_fit(path, shapes, (".lora_A.", ".lora_B.", "."), self._weights, self._served.name)
            if self._peft is None:  # kept from here on, so that the remains of a failed load are switched off
                self._peft = PeftModel(self._model, PeftConfig.from_pretrained(folder), inner)
            self._peft.load_adapter(folder, inner)
        except (SafetensorError, OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
            raise EngineError(f"PEFT cannot load {folder} ({error}): it may be damaged. Train it again") from error
        return inner

    def _with_adapter(self, name: str) -> AbstractContextManager[object]:
        """A context in which the adapter `name` is active, or none if it is ""."""
        if name:
            self._peft.set_adapter(self._loaded[name], inference_mode=True)
        return self._peft.disable_adapter() if self._peft is not None and not name else nullcontext()

    def _head(self, prompt: Prompt) -> str:
        """The prompt as text, and the beginning of the answer."""
        head = self._tokenizer.apply_chat_template(list(prompt.messages), tokenize=False, add_generation_prompt=True)
        return str(head) + prompt.prefill + prompt.begun

    def _count(self, text: str) -> int:
        return len(self._tokenizer(text, add_special_tokens=False).input_ids)

    def _complete(self, prompt: Prompt) -> Completion:
        import torch

        start, head = time.perf_counter(), self._head(prompt)
        inputs = self._tokenizer(head, add_special_tokens=False, return_tensors="pt").to(self._model.device)
        given = inputs["input_ids"].shape[1]
        (room,) = rooms([prompt], [given], self._count)
        how: dict[str, Any] = {"do_sample": False, "repetition_penalty": 1.0}  # a fix repeats the program
        if prompt.temperature:  # the whole vocabulary, whatever the model's own generation_config says
            how |= {"do_sample": True, "temperature": prompt.temperature, "top_k": 0, "top_p": 1.0}
        devices = [self._model.device] if self._model.device.type == "cuda" else []
        with torch.inference_mode(), torch.random.fork_rng(devices):
            torch.manual_seed(prompt.seed)
            made = self._model.generate(
                **inputs,
                **how,
                max_new_tokens=room,
                stop_strings=list(prompt.stop) or None,
                tokenizer=self._tokenizer,
                stopping_criteria=[self._too_unlikely(prompt, inputs["input_ids"][0])],
                return_dict_in_generate=True,
                output_scores=prompt.least is not None,
                pad_token_id=self._tokenizer.eos_token_id,
            )
        out = made.sequences
        answer = out[0, given:]
        text, stopped = up_to_stop(self._tokenizer.decode(answer, skip_special_tokens=True), prompt.stop)
        cut = not stopped and len(answer) >= room and int(answer[-1]) not in self._ends
        chance = self._chance(prompt, out[0]) if prompt.scored else None
        departures = self._departures(prompt, inputs["input_ids"][0].tolist()) if prompt.departures else ()
        seconds = time.perf_counter() - start
        return Completion(prompt.begun + text, given, len(answer), seconds, cut, departures, chance)

    def _too_unlikely(self, prompt: Prompt, given: Any) -> Callable[..., Any]:
        """Whether an answer in the making, to a prompt with the tokens `given`, is to be given up (Prompt.least)."""
        import torch

        chance = self._chance(prompt, given) if prompt.least is not None and prompt.begun else 0.0

        def check(tokens: Any, scores: Any, **_: Any) -> Any:
            nonlocal chance
            if prompt.least is not None:
                chance += float(scores[-1][0].float().log_softmax(-1)[tokens[0, -1]])
            return torch.tensor([prompt.least is not None and chance < prompt.least], device=tokens.device)

        return check

    def _logits(self, tokens: Any) -> Any:
        """(tokens, vocabulary): the logits after each of `tokens`, as float32."""
        import torch

        with torch.inference_mode():
            rows = self._model(torch.as_tensor(tokens, device=self._model.device)[None]).logits[0]
        return rows.float().cpu()

    def _chance(self, prompt: Prompt, tokens: Any) -> float:
        """The log-probability of an answer, the last of `tokens`, after its prompt."""
        given = self._count(self._head(replace(prompt, begun="")))
        rows = self._logits(tokens)[given - 1 : -1].log_softmax(-1)
        return float(rows.gather(1, tokens[given:, None].cpu()).sum())

    def _departures(self, prompt: Prompt, tokens: list[int]) -> tuple[Departure, ...]:
        """See Prompt.departures."""
        copy = self._tokenizer(prompt.copy_from, add_special_tokens=False).input_ids
        found = Departures(copy, prompt.departures, self._text, prompt.stop)
        for place, row in enumerate(self._logits(tokens + copy[:-1])[len(tokens) - 1 :].numpy()):
            found.read(row, place)
        return found.found()

    def _text(self, tokens: list[int]) -> bytes:
        text: str = self._tokenizer.decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return text.encode() if "\ufffd" not in text else b"\xff"  # parts of a character are no text
