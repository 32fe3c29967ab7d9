"""llama.cpp, embedded: a GGUF file is evaluated as it will be used."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

from sleepy.artifacts import Completion, Prompt, Served
from sleepy.engines.engine import NONE_KNOWN, Done, Engine, Known, ignore, picker, rooms, up_to_stop
from sleepy.engines.hot import LlamaAdapters
from sleepy.engines.lookup import Lookup
from sleepy.errors import EngineError
from sleepy.machine import cores
from sleepy.options import ranged

_WORTH_KEEPING = 64  # tokens; fewer are evaluated again, because splitting a prompt elsewhere can flip a near-tie


@dataclass(frozen=True, kw_only=True)
class LlamaCpp(Engine):
    """Answers one prompt at a time, adapter by adapter; the common prefix of an adapter's prompts is evaluated once.

    context: tokens that a prompt and its answer may have together (256 to 131072).
    threads: CPU threads; 0 uses every core (0 to 1024).
    lookup: propose the broken program's own tokens and check many of them at once. This does not change the answer.
    """

    context: int = ranged(4096, at_least=256, at_most=131072)
    threads: int = ranged(0, at_least=0, at_most=1024)
    lookup: bool = True

    packages: ClassVar[tuple[str, ...]] = ("llama-cpp-python",)
    no_effect: ClassVar[tuple[str, ...]] = ("threads",)

    @contextmanager
    def open(self, model: Served) -> Iterator[LlamaSession]:
        """See Engine.open."""
        from llama_cpp import Llama

        if not model.gguf.is_file():
            raise EngineError(f"There is no model file {model.gguf}: run the export stage, or fetch the model again")
        threads = self.threads or cores()
        try:
            llama = Llama(
                str(model.gguf),
                n_ctx=self.context,
                n_batch=512,
                n_ubatch=512,
                n_threads=threads,
                n_threads_batch=threads,
                verbose=False,
            )
        except (ValueError, RuntimeError) as error:
            raise EngineError(
                f"llama.cpp cannot load {model.gguf} ({error}): it may be truncated, or not a GGUF file. "
                "Delete it and run the same command again"
            ) from error
        adapters = LlamaAdapters(llama, model)
        try:
            yield LlamaSession(llama, self, adapters)
        finally:
            adapters.close()
            llama.close()


class LlamaSession:
    """A loaded GGUF model and its adapters. `_held` are the tokens in the context's memory, the shared prefix first."""

    def __init__(self, llama: Any, options: LlamaCpp, adapters: LlamaAdapters) -> None:
        from llama_cpp import llama_chat_format
        from llama_cpp._internals import LlamaBatch

        self._llama, self._options, self._adapters = llama, options, adapters
        self._held: list[int] = []
        self._batch = LlamaBatch(n_tokens=512, embd=0, n_seq_max=1, verbose=False)
        template = llama.metadata.get("tokenizer.chat_template")
        if template is None:
            raise EngineError(f"{llama.model_path} has no chat template (tokenizer.chat_template): export it again")
        word = {
            k: llama.detokenize([t], special=True).decode(errors="replace") if t >= 0 else ""
            for k, t in (("eos", llama.token_eos()), ("bos", llama.token_bos()))
        }
        self._format = llama_chat_format.Jinja2ChatFormatter(
            template=template, eos_token=word["eos"], bos_token=word["bos"], add_generation_prompt=True
        )

    def generate(self, prompts: Sequence[Prompt], done: Done = ignore, known: Known = NONE_KNOWN) -> list[Completion]:
        """See Session.generate."""
        encoded = [self._encode(p) for p in prompts]
        longest = rooms(prompts, [len(e) for e in encoded], lambda text: len(self._copy(text)), self._options.context)
        groups: dict[str, list[int]] = {}  # adapter -> indices of its prompts, in order of first appearance
        for i, prompt in enumerate(prompts):
            groups.setdefault(prompt.adapter, []).append(i)
        self._adapters.load(groups)
        found = dict(known)
        for adapter, places in groups.items():
            if known.keys() >= set(places):
                continue
            self._adapters.activate(adapter)
            self._forget(0)
            shared = _common_prefix([encoded[i] for i in places]) if len(places) > 1 else 0
            if shared:
                self._decode(encoded[places[0]][:shared], 0)
            for last, i in zip([-1, *places], places, strict=False):
                if i in known:
                    continue
                if last in known and _kept(encoded[last], encoded[i], shared) > shared:  # as if it had been asked
                    self._forget(shared)
                    self._decode(encoded[last][shared:], shared)
                found[i] = self._complete(prompts[i], encoded[i], shared, longest[i])
                done(i, found[i])
        return [found[i] for i in range(len(prompts))]

    def _encode(self, prompt: Prompt) -> list[int]:
        text = self._format(messages=list(prompt.messages)).prompt + prompt.prefill
        tokens: list[int] = self._llama.tokenize(text.encode(), add_bos=False, special=True)
        return tokens

    def _copy(self, text: str) -> list[int]:
        tokens: list[int] = self._llama.tokenize(text.encode(), add_bos=False, special=False)
        return tokens

    def _complete(self, prompt: Prompt, tokens: list[int], shared: int, room: int) -> Completion:
        """The answer to a prompt with these `tokens`, in at most `room` tokens."""
        from llama_cpp import llama_cpp as api

        start = time.perf_counter()
        pick = picker(prompt, room)
        kept = _kept(self._held, tokens, shared)
        self._forget(kept)
        new = self._decode(tokens[kept:], kept, pick)
        lookup, place = Lookup(self._copy(prompt.copy_from) if self._options.lookup else []), len(tokens)
        answer: list[int] = []
        drafted, text, stopped, cut = 0, "", False, False
        while True:
            end = next((i for i, t in enumerate(new) if api.llama_vocab_is_eog(self._vocab, t)), None)
            answer += new if end is None else new[:end]
            text, stopped = up_to_stop(self._llama.detokenize(answer).decode(errors="replace"), prompt.stop)
            stopped = stopped or end is not None
            cut = not stopped and len(answer) >= room
            if stopped or cut:
                break
            lookup.accept(new, drafted)
            draft = lookup.draft()[: room - len(answer) - 1]
            drafted, place = len(draft), len(tokens) + len(answer) - 1
            self._forget(place)
            new = self._decode([answer[-1], *draft], place, pick, len(answer), drafted)
        return Completion(text, len(tokens), len(answer), time.perf_counter() - start, cut)

    @property
    def _vocab(self) -> Any:
        return self._llama._model.vocab

    def _forget(self, place: int) -> None:
        """Clear the context's memory from position `place` on."""
        self._llama._ctx.kv_cache_seq_rm(-1, place, -1)
        del self._held[place:]

    def _decode(
        self,
        tokens: list[int],
        place: int,
        pick: Callable[[Any, int], int] | None = None,
        answered: int = 0,
        drafted: int = 0,
    ) -> list[int]:
        """Evaluate `tokens`, the last `drafted` of which are a draft, from position `place` on.

        With `pick`, returns what it picks as the next tokens of an answer that has `answered` tokens so far: one after
        the token before the draft, and one after each drafted token, up to the first that differs from the draft.
        """
        import numpy as np
        from llama_cpp import llama_cpp as api

        context, vocabulary = self._llama._ctx.ctx, self._llama.n_vocab()
        picked: list[int] = []
        for at in range(0, len(tokens), 512):
            part = tokens[at : at + 512]
            self._batch.set_batch(batch=part, n_past=place + at, logits_all=False)
            first = max(0, len(tokens) - drafted - 1 - at) if pick else len(part)
            for i in range(len(part)):
                self._batch.batch.logits[i] = i >= first
            code = api.llama_decode(context, self._batch.batch)
            if code:
                raise EngineError(
                    f"llama.cpp could not evaluate {len(part)} tokens (code {code}). Out of memory? "
                    "Lower engine.context"
                )
            self._held += part
            if pick is None:
                continue
            for i in range(first, len(part)):
                logits = np.ctypeslib.as_array(api.llama_get_logits_ith(context, i), shape=(vocabulary,))
                picked.append(pick(logits, answered + len(picked)))
                if part[i + 1 : i + 2] != picked[-1:]:
                    break
        return picked


def _kept(held: Sequence[int], tokens: Sequence[int], shared: int) -> int:
    """How many leading tokens of a prompt need not be evaluated, when `held` are those in memory."""
    kept = _common_prefix([[*held, -1], tokens])  # -1 is no token
    return kept if kept >= shared + _WORTH_KEEPING else shared


def _common_prefix(rows: Sequence[Sequence[int]]) -> int:
    """How many leading tokens all rows share, leaving at least one token of each row."""
    limit = min(map(len, rows)) - 1
    return next((i for i in range(limit) if len({row[i] for row in rows}) > 1), limit)
