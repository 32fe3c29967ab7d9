"""The GGUF format: headers, layout, quantisation, and an adapter as a GGUF file."""
