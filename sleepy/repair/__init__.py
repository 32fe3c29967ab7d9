"""How a model is asked for a repair."""
