"""Device, precision and attention: what is asked for against what is there."""

from __future__ import annotations

import importlib.util
import sys
from typing import Any

from sleepy.artifacts import BaseModel
from sleepy.errors import ConfigError
from sleepy.train.settings import Train


def pick_device(asked: str) -> str:
    """The torch device for `device=auto|cpu|cuda|mps`. Raises ConfigError when it is not there."""
    import torch

    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if asked == "auto":
        return next(name for name in ("cuda", "mps", "cpu") if there[name])
    if not there[asked]:
        raise ConfigError(
            f"device={asked}: torch {torch.__version__} sees no such device here. Available: "
            f"{', '.join(n for n, yes in there.items() if yes)}"
        )
    return asked


def pick_dtype(precision: str, device: str) -> Any:
    """The torch dtype of the frozen weights. On a CPU without bf16 instructions bf16 is tens of times slower."""
    import torch

    if precision != "auto":
        return {"bf16": torch.bfloat16, "fp32": torch.float32}[precision]
    fast = {
        "cuda": lambda: torch.cuda.is_bf16_supported(),
        "cpu": lambda: torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported(),
        "mps": lambda: False,
    }[device]()
    return torch.bfloat16 if fast else torch.float32


def pick_attention(asked: str, device: str) -> str:
    """transformers' name of the attention. Raises ConfigError for FlashAttention where it cannot run."""
    flash = device == "cuda" and importlib.util.find_spec("flash_attn") is not None
    if asked == "flash_attention_2" and not flash:
        raise ConfigError(
            "train.attention: flash_attention_2 needs a CUDA device and the package flash-attn "
            f"(pip install -e '.[cuda]'); the device is {device}. Use train.attention=auto"
        )
    return ("flash_attention_2" if flash else "sdpa") if asked == "auto" else asked


def check_machine(train: Train, device: str) -> None:
    """Raises ConfigError when the device, the attention or the quantisation asked for is not available here."""
    pick_attention(train.attention, pick_device(device))
    if train.quantization == "nf4" and importlib.util.find_spec("bitsandbytes") is None:
        raise ConfigError(
            "train.quantization: nf4 needs the package bitsandbytes (pip install -e '.[quant]'), "
            "or use train.quantization=none"
        )


_kept: dict[tuple[object, ...], Any] = {}  # at most one base model, for the next training that wants the same


def keep_base(model: Any, base: BaseModel, train: Train, device: str) -> None:
    """Keep what `load_base` gave, unchanged and without adapters, for the next one who asks for the same. With gradient
    checkpointing it is not unchanged: transformers leaves hooks on it."""
    if not train.gradient_checkpointing:
        _kept.clear()
        _kept[_wanted(base, train, device)] = model


def release_base() -> None:
    """Free the memory of the base model that is kept, if any."""
    _kept.clear()


def give_back_memory() -> None:
    """Hand freed memory back to the system. glibc keeps what a training step used, gigabytes, for a next step; an
    evaluation, or another process, can use it better."""
    import ctypes

    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:  # musl has none
        trim(0)


def _wanted(base: BaseModel, train: Train, device: str) -> tuple[object, ...]:
    return base.weights, train.precision, train.attention, train.quantization, device


def load_base(base: BaseModel, train: Train, device: str) -> Any:
    """The base model for training, on its device: the one that is kept, which its taker may change, or else a fresh
    one. Raises ConfigError for what the machine cannot do."""
    kept = _kept.pop(_wanted(base, train, device), None)
    release_base()
    if kept is not None:
        return kept
    from transformers import AutoModelForCausalLM

    dtype = pick_dtype(train.precision, device)
    options: dict[str, Any] = {"dtype": dtype, "attn_implementation": pick_attention(train.attention, device)}
    if train.quantization == "nf4":
        from transformers import BitsAndBytesConfig

        options["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype, bnb_4bit_use_double_quant=True
        )
        options["device_map"] = {"": device}
    model = AutoModelForCausalLM.from_pretrained(base.weights, **options)
    model.config.use_cache = False
    return model if train.quantization == "nf4" else model.to(device)
