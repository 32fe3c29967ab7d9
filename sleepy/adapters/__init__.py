"""LoRA adapters as PEFT folders: read, written, found, and several combined into one."""
