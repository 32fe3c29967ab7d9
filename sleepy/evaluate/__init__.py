"""Scores of a model on a task set, and what can be said about two of them."""
