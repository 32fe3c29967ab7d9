"""Run a model over a task set, and compare two such evaluations with honest statistics."""
