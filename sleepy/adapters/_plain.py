"""Which PEFT adapters are plain LoRA: W + scale B A, with W the base model's own weights, and of which model."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

# Fields that may hold anything: the tensors themselves show which layers are adapted and with what rank, and what
# happened only in training does not matter afterwards.
_HARMLESS = frozenset(
    """peft_type task_type auto_mapping peft_version base_model_name_or_path revision inference_mode r lora_alpha
use_rslora lora_dropout target_modules layers_to_transform layers_pattern rank_pattern init_lora_weights eva_config
runtime_config""".split()
)
# Initialisations that leave the base model's weights as they are. PiSSA, OLoRA, CorDA, LoftQ and LoRA-GA do not: their
# adapters belong to changed weights.
_INITS = (True, False, None, "gaussian", "eva", "orthogonal", "mica")
# The other fields are unset by default, but for these.
_DEFAULTS = {"bias": "none", "megatron_core": "megatron.core", "qalora_group_size": 16}


def not_plain(config: Mapping[str, Any]) -> str:
    """What makes an adapter_config.json other than plain LoRA, as "key=value, ..."; empty if nothing does. Every field
    that is not known to be harmless must be as LoraConfig has it by default; so one that a later PEFT adds is refused
    when it is set."""
    if config.get("peft_type") != "LORA":
        return f"peft_type={config.get('peft_type')}"
    found = {
        name: value
        for name, value in config.items()
        if value and value != _DEFAULTS.get(name) and name not in _HARMLESS
    }
    if (start := config.get("init_lora_weights")) not in _INITS:
        found["init_lora_weights"] = start
    return ", ".join(f"{name}={value}" for name, value in sorted(found.items()))


def names_another_model(named: str, model: str) -> bool:
    """Whether an adapter's base_model_name_or_path clearly names another model than `model`. A path says nothing
    certain. Of a name or hub id the last part counts, and it may say more or less than `model` does
    (Qwen2.5-Coder-0.5B-Instruct and qwen2.5-coder-0.5b)."""
    if not re.fullmatch(r"(\w[\w.-]*/)?\w[\w.-]*", named):  # not owner/name, nor a name
        return False
    one, other = (re.sub(r"[\W_]", "", name.rpartition("/")[2].lower()) for name in (named, model))
    return one not in other and other not in one
