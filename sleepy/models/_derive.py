"""One model in the two forms the stages work on: an f16 GGUF, and a Hugging Face folder of f16 safetensors.

f16 rather than bf16: it holds the values of a quantised file as llama.cpp itself dequantises them, and both forms then
hold the same numbers.
"""

from __future__ import annotations

import math
import warnings
from pathlib import Path

from sleepy.errors import ModelError
from sleepy.models._llama import end_tokens, quantize, tokenize, vocabulary

# Indentation, digits, letters and symbols outside ASCII: what tokenizers that only look alike split differently.
SAMPLE = "fn main() {\n    let größe: i32 = \"12345\";\n\n\tprintln!(\"{größe:>08.3} it's π ≠ 😀\"); // 2024\n}\n"


def derive_from_gguf(source: Path, folder: Path) -> None:
    """Fill `folder` with f16.gguf and weights/ made from a GGUF file of any type."""
    quantize(source, folder / "f16.gguf", "f16")
    write_weights(folder, "f16.gguf", folder / "weights")
    compare_tokens(folder / "weights", folder / "f16.gguf")


def write_weights(source: Path, gguf: str | None, target: Path) -> None:
    """Write the model in folder `source` (its GGUF file `gguf`, or its safetensors) as f16 safetensors to `target`.

    Written by hand because a model read from GGUF counts as quantised and refuses `save_pretrained`, and because the
    GGUF loader unties heads that are equal to the embedding: those are tied again and written once.
    """
    import torch
    from safetensors.torch import save_file
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, GgufConfig

    # without it transformers may keep a GGUF file's weights in their blocks
    dense = {"gguf_file": gguf, "quantization_config": GgufConfig(dequantize=True)} if gguf else {}
    try:
        config = AutoConfig.from_pretrained(source, gguf_file=gguf)  # given to both: each reads the file else
        tokenizer = AutoTokenizer.from_pretrained(source, gguf_file=gguf, config=config)
        model = AutoModelForCausalLM.from_pretrained(source, config=config, dtype=torch.float16, **dense)
    except (OSError, ValueError, KeyError, RuntimeError, ImportError) as error:
        raise ModelError(f"{source / (gguf or '')}: transformers cannot load it: {error}") from error
    if tokenizer.chat_template is None:
        raise ModelError(f"{source}: found a tokenizer without chat template, expected one: choose an instruct model")
    tensors = model.state_dict()
    head, embedding = model.get_output_embeddings(), model.get_input_embeddings()
    if torch.equal(head.weight, embedding.weight):
        model.config.tie_word_embeddings = True
        head_name = next(name for name, module in model.named_modules() if module is head)
        del tensors[f"{head_name}.weight"]
    for name, tensor in tensors.items():
        if not all(math.isfinite(bound) for bound in torch.aminmax(tensor)):
            raise ModelError(f"{source}: {name} holds values that are not finite in f16: this model cannot be used")
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    if gguf:
        # llama.cpp knows all ends of an answer of this vocabulary, the file's metadata only one
        with vocabulary(source / gguf) as vocab:
            model.generation_config.eos_token_id = end_tokens(vocab)
    target.mkdir()
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, target / "model.safetensors",
              metadata={"format": "pt"})
    (target / "model.safetensors").chmod(0o644)  # safetensors makes it unreadable for everyone else
    model.config.architectures = [type(model).__name__]
    model.config.save_pretrained(target)
    model.generation_config.save_pretrained(target)
    tokenizer.save_pretrained(target)


def compare_tokens(weights: Path, gguf: Path) -> None:
    """Warn unless transformers and llama.cpp split the same chat prompt into the same tokens."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(weights)
    text = tokenizer.apply_chat_template([{"role": "user", "content": SAMPLE}], tokenize=False,
                                         add_generation_prompt=True)
    with vocabulary(gguf) as vocab:
        served = tokenize(vocab, text)
    trained = tokenizer(text, add_special_tokens=False).input_ids
    if served != trained:
        warnings.warn(f"{gguf.parent}: transformers and llama.cpp split a chat prompt differently ({len(trained)} and "
                      f"{len(served)} tokens): what is trained is not quite what is served", stacklevel=2)
