"""Proof that an exported file is the merged model: both are asked the same, and must answer the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sleepy.artifacts import Prompt
from sleepy.errors import ModelError
from sleepy.gguf.header import read_header
from sleepy.gguf.llama import header, tokenize
from sleepy.machine import threads
from sleepy.tensors import WEIGHTS

if TYPE_CHECKING:
    import numpy as np

# Bounds on what rounding may do, since llama.cpp rounds activations to f16: logits of two tokens closer than this are
# a near-tie, and logits may be off by this share of their standard deviation.
NEAR_TIE, ERROR = 0.1, 0.02
NOT_COMPARED = "the GGUF file was not compared with the merged model"


@dataclass(frozen=True)
class Proof:
    """`line` says for a report what was found equal; `warnings` what was not, without making the export wrong."""

    line: str
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Answer:
    """Token ids of a prompt and of its greedy answer, and the logits (tokens, vocabulary) it was chosen from."""

    prompt: list[int]
    tokens: list[int]
    logits: np.ndarray


def prove(merged: Path, gguf: Path, prompts: Sequence[Prompt], tokens: int = 24) -> Proof:
    """Compare the model in folder `merged` (transformers, float32) with its f16 GGUF (llama.cpp) on `prompts`.

    llama.cpp answers greedily with up to `tokens` tokens a prompt. transformers then reads prompt and answer in one
    pass and must choose each of these tokens too, which is so if and only if its own greedy text is the same. Another
    choice is accepted when it is a near-tie. Raises ModelError when the two differ by more than rounding explains.
    Where memory is too short for float32 nothing is compared, and a warning says so.
    """
    import psutil
    from transformers import AutoTokenizer

    needed, free = 2 * (merged / WEIGHTS).stat().st_size, psutil.virtual_memory().available
    if needed > free:
        why = f"that takes {needed / 1e9:.1f} GB of memory, found {free / 1e9:.1f}"
        return Proof(NOT_COMPARED, (f"{NOT_COMPARED}: {why}",))
    tokenizer = AutoTokenizer.from_pretrained(merged)
    template = read_header(gguf).text("tokenizer.chat_template")
    texts = [_rendered(tokenizer, template, prompt) + prompt.prefill for prompt in prompts]
    encoded = [tokenizer(text, add_special_tokens=False).input_ids for text in texts]
    with header(gguf) as model:
        split = [text for text, ids in zip(texts, encoded, strict=True) if tokenize(model, text) != ids]
    answers = _answers(gguf, encoded, tokens)
    gaps, error = _compare(merged, gguf, answers)
    ties = f", {len(gaps)} near-ties (logits at most {max(gaps):.3f} apart)" if gaps else ""
    line = (
        f"same greedy text from merged model and f16 GGUF: {len(answers)} prompts, "
        f"{sum(len(answer.tokens) for answer in answers)} tokens{ties}, logits within {error:.2%}"
    )
    if not split:
        return Proof(line)
    how_many = f"transformers and llama.cpp split {len(split)} of {len(texts)} prompts into different tokens"
    return Proof(line, (f"{how_many}: what was trained is not quite what is served",))


def _rendered(tokenizer: Any, template: str, prompt: Prompt) -> str:
    """The text of a prompt's messages, when the tokenizer and `template`, the GGUF file's, agree on it."""
    from llama_cpp.llama_chat_format import Jinja2ChatFormatter

    served = Jinja2ChatFormatter(template, tokenizer.eos_token or "", tokenizer.bos_token or "")
    text = str(tokenizer.apply_chat_template(list(prompt.messages), tokenize=False, add_generation_prompt=True))
    found = served(messages=list(prompt.messages)).prompt
    if found != text:
        raise ModelError(
            f"the GGUF file's chat template says {found!r}, that of the merged model {text!r}: the export is wrong, "
            f"please report it"
        )
    return text


def _answers(gguf: Path, prompts: Sequence[list[int]], tokens: int) -> list[_Answer]:
    """llama.cpp's greedy answers; the token that ends an answer is part of it."""
    import numpy as np
    from llama_cpp import Llama, llama_cpp

    try:
        llama = Llama(
            str(gguf),
            n_ctx=max(map(len, prompts)) + tokens,
            n_batch=512,
            n_threads=threads(),
            n_threads_batch=threads(),
            verbose=False,
        )
    except (ValueError, RuntimeError) as error:
        raise ModelError(
            f"{gguf}: llama.cpp cannot load it ({error}): the export is wrong, or there is too little memory"
        ) from error
    answers = []
    try:
        for prompt in prompts:
            llama.reset()
            rows: list[np.ndarray] = []
            chosen: list[int] = []
            while len(chosen) < tokens:
                llama.eval(chosen[-1:] or prompt)
                logits = llama_cpp.llama_get_logits_ith(llama._ctx.ctx, -1)
                rows.append(np.ctypeslib.as_array(logits, (llama.n_vocab(),)).copy())
                chosen.append(int(rows[-1].argmax()))
                if llama_cpp.llama_vocab_is_eog(llama._model.vocab, chosen[-1]):
                    break
            answers.append(_Answer(prompt, chosen, np.stack(rows)))
    finally:
        llama.close()
    return answers


def _compare(merged: Path, gguf: Path, answers: Sequence[_Answer]) -> tuple[list[float], float]:
    """The gaps of near-ties, and the largest error of the logits: root mean square, relative to their deviation."""
    import numpy as np
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(merged, dtype=torch.float32)
    gaps, errors = [], []
    for answer in answers:
        with torch.inference_mode():
            ids = torch.tensor([answer.prompt + answer.tokens[:-1]])
            logits = model(ids, logits_to_keep=len(answer.tokens), use_cache=False).logits[0].numpy()
        width = min(logits.shape[1], answer.logits.shape[1])  # one of them may pad its vocabulary
        errors.append(((answer.logits[:, :width] - logits[:, :width]) ** 2).mean() ** 0.5 / logits.std())
        for row, token in zip(logits, answer.tokens, strict=True):
            gap = float(row.max() - row[token])
            if not gap <= NEAR_TIE:  # nor when it is NaN
                raise ModelError(
                    f"{gguf}: answers token {token} where the merged model prefers {row.argmax()} by "
                    f"{gap:.2f} (rounding explains {NEAR_TIE}): the export is wrong, please report it"
                )
            gaps += [gap] if gap else []
    error = float(np.max(errors))
    if not error <= ERROR:
        raise ModelError(
            f"{gguf}: its logits are off by {error:.1%} of their deviation from the merged model's "
            f"(rounding explains {ERROR:.0%}): the export is wrong, please report it"
        )
    return gaps, error
