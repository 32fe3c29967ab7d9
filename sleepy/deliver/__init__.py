"""Merged weights become files that others can run: GGUF, adapter GGUF, Ollama Modelfile."""
