"""The engines that run a model: prompts in, completions out."""
