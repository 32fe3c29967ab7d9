"""sleepy: train LoRA adapters for small code models, and find out whether it helped."""

__version__ = "0.1.0"
