"""Training pairs, and the mixes that an adapter is trained on."""
