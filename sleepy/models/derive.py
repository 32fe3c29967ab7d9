"""One model in the two forms the stages work on: an f16 GGUF, and a Hugging Face folder of f16 safetensors.

f16 rather than bf16: it holds the values of a quantised file as llama.cpp itself dequantises them, and both forms then
hold the same numbers.
"""

from __future__ import annotations

import math
import warnings
from pathlib import Path
from typing import Any

from sleepy.errors import ModelError
from sleepy.files import explained, need_space
from sleepy.gguf.header import parts_of
from sleepy.gguf.llama import end_tokens, header, is_quantized, metadata, quantize, tokenize

# Indentation, digits, letters and symbols outside ASCII: what tokenizers that only look alike split differently.
SAMPLE = 'fn main() {\n    let größe: i32 = "12345";\n\n\tprintln!("{größe:>08.3} it\'s π ≠ 😀"); //  24\n    7\n}\n'
# Values of "tokenizer.ggml.pre" at which llama.cpp parts digits first (llama-vocab.cpp).
DIGITS_APART = ("smollm", "starcoder", "refact", "command-r", "codeshell")


def derive_from_gguf(source: Path, folder: Path) -> None:
    """Fill `folder` with f16.gguf and weights/ made from a GGUF file, and q4_k_m.gguf if that holds floats."""
    with header(source) as model:
        quantized = is_quantized(model)
    # two files of 16 bits a weight are eight times the size of 4-bit weights
    size = sum(part.stat().st_size for part in parts_of(source))
    need_space(folder, size * (8 if quantized else 3), "the f16 GGUF and safetensors made from it")
    quantize(source, folder / "f16.gguf", "f16")
    write_weights(folder, "f16.gguf", folder / "weights")
    compare_tokens(folder / "weights", folder / "f16.gguf")
    if not quantized:
        quantize(folder / "f16.gguf", folder / "q4_k_m.gguf", "q4_k_m")


def write_weights(source: Path, gguf: str | None, target: Path) -> None:
    """Write the model in folder `source` (its GGUF file `gguf`, or its safetensors) as f16 safetensors to `target`.

    The GGUF loader unties heads that are equal to the embedding; those are tied again and written once.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, GgufConfig

    # dequantize: a plain model, which can be saved; else the weights may stay in the file's blocks
    dense = {"gguf_file": gguf, "quantization_config": GgufConfig(dequantize=True)} if gguf else {}
    try:
        config = AutoConfig.from_pretrained(source, gguf_file=gguf)  # given to both: each reads the file else
        tokenizer = AutoTokenizer.from_pretrained(source, gguf_file=gguf, config=config)
        model = AutoModelForCausalLM.from_pretrained(source, config=config, dtype=torch.float16, **dense)
    except (OSError, ValueError, KeyError, RuntimeError, ImportError) as error:
        raise ModelError(f"{source / (gguf or '')}: transformers cannot load it: {error}") from error
    if tokenizer.chat_template is None:
        raise ModelError(f"{source}: the tokenizer has no chat template. Choose an instruct model")
    for name, tensor in model.state_dict().items():
        if not all(math.isfinite(bound) for bound in torch.aminmax(tensor)):
            raise ModelError(f"{source}: {name} has values that are not finite in f16, so this model cannot be used")
    if torch.equal(model.get_output_embeddings().weight, model.get_input_embeddings().weight):
        model.config.tie_word_embeddings = True
        model.tie_weights()
    if gguf:
        with header(source / gguf) as loaded:
            # llama.cpp knows all ends of an answer of this vocabulary, the file's metadata only one
            model.generation_config.eos_token_id = end_tokens(loaded)
            if metadata(loaded, "tokenizer.ggml.pre") in DIGITS_APART:
                split_digits(tokenizer)
    with explained(target, sum(tensor.nbytes for tensor in model.state_dict().values())):
        model.save_pretrained(target, max_shard_size="1TB")
        (target / "model.safetensors").chmod(0o644)  # safetensors makes it unreadable for everyone else
        tokenizer.save_pretrained(target)


def split_digits(tokenizer: Any) -> None:
    """Part text at every digit before anything else is parted, which transformers forgets on reading a GGUF file."""
    from tokenizers.pre_tokenizers import ByteLevel, Digits, Sequence

    tokenizer.backend_tokenizer.pre_tokenizer = Sequence(
        [Digits(individual_digits=True), ByteLevel(add_prefix_space=False)]
    )


def compare_tokens(weights: Path, gguf: Path) -> None:
    """Warn unless transformers and llama.cpp split the same chat prompt into the same tokens."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(weights)
    text = tokenizer.apply_chat_template(
        [{"role": "user", "content": SAMPLE}], tokenize=False, add_generation_prompt=True
    )
    with header(gguf) as model:
        served = tokenize(model, text)
    trained = tokenizer(text, add_special_tokens=False).input_ids
    if served != trained:
        warnings.warn(
            f"{gguf.parent}: transformers and llama.cpp split a chat prompt differently ({len(trained)} and "
            f"{len(served)} tokens): what is trained is not quite what is served",
            stacklevel=2,
        )
