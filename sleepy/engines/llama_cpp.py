"""llama.cpp, embedded: a GGUF file is evaluated as it will be used."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from sleepy.artifacts import Completion, Departure, Prompt, Served
from sleepy.engines.departures import Departures, log_sum
from sleepy.engines.engine import NONE_KNOWN, Done, Engine, Known, ignore, in_depth, picker, rooms, up_to_stop
from sleepy.engines.hot import LlamaAdapters
from sleepy.engines.lookup import Lookup
from sleepy.errors import EngineError
from sleepy.machine import threads as all_threads
from sleepy.options import ranged

_WORTH_KEEPING = 64  # tokens; fewer are evaluated again, because splitting a prompt elsewhere can flip a near-tie


@dataclass(frozen=True, kw_only=True)
class LlamaCpp(Engine):
    """Answers one prompt at a time, adapter by adapter; the common prefix of an adapter's prompts is evaluated once.

    context: tokens that a prompt and its answer may have together (256 to 131072).
    threads: CPU threads; 0 uses every core, or as many as OMP_NUM_THREADS says (0 to 1024).
    lookup: propose the broken program's own tokens and check many of them at once. This does not change the answer.
    """

    context: int = ranged(4096, at_least=256, at_most=131072)
    threads: int = ranged(0, at_least=0, at_most=1024)
    lookup: bool = True

    tells_chances: ClassVar[bool] = True
    packages: ClassVar[tuple[str, ...]] = ("llama-cpp-python",)
    no_effect: ClassVar[tuple[str, ...]] = ("threads",)

    @contextmanager
    def open(self, model: Served) -> Iterator[LlamaSession]:
        """See Engine.open."""
        from llama_cpp import Llama

        if not model.gguf.is_file():
            raise EngineError(f"There is no model file {model.gguf}: run the export stage, or fetch the model again")
        threads = self.threads or all_threads()
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
    """A loaded GGUF model and its adapters. `_held` are the tokens in the context's memory, the shared prefix first,
    and `_chances` the log-probability of those of them, by position, for which it is known."""

    def __init__(self, llama: Any, options: LlamaCpp, adapters: LlamaAdapters) -> None:
        from llama_cpp import llama_chat_format
        from llama_cpp._internals import LlamaBatch

        self._llama, self._options, self._adapters = llama, options, adapters
        self._held: list[int] = []
        self._chances: dict[int, float] = {}
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
        longest = self._rooms(prompts, encoded)
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

                def ask(prompt: Prompt, i: int = i, shared: int = shared) -> Completion:
                    if prompt is prompts[i]:
                        return self._complete(prompt, encoded[i], shared, longest[i])
                    tokens = self._encode(prompt)
                    return self._complete(prompt, tokens, shared, *self._rooms([prompt], [tokens]))

                found[i] = in_depth(i, prompts[i], ask, done)
        return [found[i] for i in range(len(prompts))]

    def _rooms(self, prompts: Sequence[Prompt], encoded: Sequence[Sequence[int]]) -> list[int]:
        return rooms(prompts, [len(e) for e in encoded], lambda text: len(self._copy(text)), self._options.context)

    def _encode(self, prompt: Prompt) -> list[int]:
        text = self._format(messages=list(prompt.messages)).prompt + prompt.prefill + prompt.begun
        tokens: list[int] = self._llama.tokenize(text.encode(), add_bos=False, special=True)
        return tokens

    def _copy(self, text: str) -> list[int]:
        tokens: list[int] = self._llama.tokenize(text.encode(), add_bos=False, special=False)
        return tokens

    def _complete(self, prompt: Prompt, tokens: list[int], shared: int, room: int) -> Completion:
        """The answer to a prompt with these `tokens`, in at most `room` tokens."""
        from llama_cpp import llama_cpp as api

        start, size = time.perf_counter(), len(tokens)
        answer = _Answer(prompt, room, Lookup(self._copy(prompt.copy_from) if self._options.lookup else []))
        given = self._read(prompt, tokens, shared, answer)
        while True:
            ended = bool(api.llama_vocab_is_eog(self._vocab, answer.tokens[-1]))
            made = len(answer.tokens) - ended
            text, stopped = up_to_stop(self._text(answer.tokens[:made]).decode(errors="replace"), prompt.stop)
            cut = not (stopped or ended) and made >= room
            hopeless = prompt.least is not None and given + sum(answer.chances) < prompt.least
            if stopped or ended or cut or hopeless:
                break
            answer.propose()
            place = size + made - 1
            self._forget(place)
            self._decode([answer.tokens[-1], *answer.draft], place, place, lambda logits, _: answer.take(logits))
        while stopped and up_to_stop(self._text(answer.tokens[: made - 1]).decode(errors="replace"), prompt.stop)[1]:
            made -= 1  # a draft may go on behind the stop
        departures = self._departures(prompt, tokens) if prompt.departures else ()
        chance = given + sum(answer.chances[: made + ended]) if prompt.scored else None
        return Completion(prompt.begun + text, size, made, time.perf_counter() - start, cut, departures, chance)

    def _read(self, prompt: Prompt, tokens: list[int], shared: int, answer: _Answer) -> float:
        """Evaluate a prompt and take the answer's first token. Returns the log-probability of what is given of the
        answer, if the prompt asks for it, else 0."""
        size = len(tokens)
        first = size  # the first token that is given of the answer
        if prompt.scored:
            first = _common_prefix([[*self._encode(replace(prompt, begun="")), -1], [*tokens, -2]])
        kept = _kept(self._held, tokens, shared)
        unknown = next((i for i in range(first, size) if i >= kept or i not in self._chances), size)
        kept = min(kept, unknown - 1)  # a token's chance is read after the one before it
        chances = {i: self._chances[i] for i in range(first, unknown)}

        def read(logits: Any, position: int) -> bool:
            if position == size - 1:
                return answer.take(logits)
            chances[position + 1] = float(logits[tokens[position + 1]]) - log_sum(logits)
            return True

        self._forget(kept)
        self._decode(tokens[kept:], kept, unknown - 1, read)
        self._chances |= chances
        return sum(chances.values())

    def _departures(self, prompt: Prompt, tokens: list[int]) -> tuple[Departure, ...]:
        """The likeliest departures from the text that the answer probably copies. The memory then holds that text, so
        that an answer which departs from it late costs little."""
        copy, last = self._copy(prompt.copy_from), len(tokens) - 1
        found = Departures(copy, prompt.departures, self._text, prompt.stop)

        def read(logits: Any, position: int) -> bool:
            self._chances[position + 1] = found.read(logits, position - last)
            return True

        self._forget(last)
        self._decode([tokens[-1], *copy[:-1]], last, last, read)
        return found.found()

    def _text(self, tokens: list[int]) -> bytes:
        text: bytes = self._llama.detokenize(tokens)
        return text

    @property
    def _vocab(self) -> Any:
        return self._llama._model.vocab

    def _forget(self, place: int) -> None:
        """Clear the context's memory from position `place` on."""
        self._llama._ctx.kv_cache_seq_rm(-1, place, -1)
        del self._held[place:]
        self._chances = {position: chance for position, chance in self._chances.items() if position < place}

    def _decode(
        self, tokens: list[int], place: int, first: int = 0, read: Callable[[Any, int], bool] | None = None
    ) -> None:
        """Evaluate `tokens` from position `place` on. From position `first` on, `read` gets the logits after each token
        and its position, until it returns False."""
        import numpy as np
        from llama_cpp import llama_cpp as api

        context, vocabulary = self._llama._ctx.ctx, self._llama.n_vocab()
        for at in range(0, len(tokens), 512):
            part = tokens[at : at + 512]
            begin = max(0, first - place - at) if read else len(part)
            self._batch.set_batch(batch=part, n_past=place + at, logits_all=False)
            for i in range(len(part)):
                self._batch.batch.logits[i] = i >= begin
            code = api.llama_decode(context, self._batch.batch)
            if code:
                raise EngineError(
                    f"llama.cpp could not evaluate {len(part)} tokens (code {code}). Out of memory? "
                    "Lower engine.context"
                )
            self._held += part
            for i in range(begin, len(part)):
                logits = np.ctypeslib.as_array(api.llama_get_logits_ith(context, i), shape=(vocabulary,))
                if read and not read(logits, place + at + i):
                    break


class _Answer:
    """An answer in the making: its tokens, the log-probability of each where the prompt asks for it, and the draft of
    what comes next."""

    def __init__(self, prompt: Prompt, room: int, lookup: Lookup) -> None:
        self.tokens: list[int] = []
        self.chances: list[float] = []
        self.draft: list[int] = []
        self._pick, self._scored, self._room, self._lookup = picker(prompt, room), prompt.scored, room, lookup
        self._drafted_at = 0

    def take(self, logits: Any) -> bool:
        """Add the token that follows from `logits`, (vocabulary,); whether the draft goes on with it."""
        self.tokens.append(self._pick(logits, len(self.tokens)))
        if self._scored:
            self.chances.append(float(logits[self.tokens[-1]]) - log_sum(logits))
        place = len(self.tokens) - 1 - self._drafted_at
        return self.draft[place : place + 1] == self.tokens[-1:]

    def propose(self) -> None:
        """Make the next draft."""
        self._lookup.accept(self.tokens[self._drafted_at :], len(self.draft))
        self._drafted_at = len(self.tokens)
        self.draft = self._lookup.draft()[: self._room - len(self.tokens) - 1]


def _kept(held: Sequence[int], tokens: Sequence[int], shared: int) -> int:
    """How many leading tokens of a prompt need not be evaluated, when `held` are those in memory."""
    kept = _common_prefix([[*held, -1], tokens])  # -1 is no token
    return kept if kept >= shared + _WORTH_KEEPING else shared


def _common_prefix(rows: Sequence[Sequence[int]]) -> int:
    """How many leading tokens all rows share, leaving at least one token of each row."""
    limit = min(map(len, rows)) - 1
    return next((i for i in range(limit) if len({row[i] for row in rows}) > 1), limit)
