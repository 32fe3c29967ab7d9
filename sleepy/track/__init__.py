"""Runs in MLflow: a SQLite file, a folder of artifacts, and the promoted adapters."""
