# Short verbs; each is a line you can type yourself.
PY := .venv/bin/python
.PHONY: setup run test test-all lint format bench ui

setup:     # tools, .venv and packages, those of the developers too
	bash setup.sh dev
run:       # the main job
	$(PY) run.py
test:      # the fast tests, under three minutes
	$(PY) -m pytest -m "not slow"
test-all:  # all tests, with a complete main job on the default model
	$(PY) -m pytest
lint:
	$(PY) -m ruff check . && $(PY) -m ruff format --check . && $(PY) -m mypy
format:
	$(PY) -m ruff check --fix . && $(PY) -m ruff format .
bench:     # side-by-side timings, printed as ratios
	for script in bench/*.py; do $(PY) "$$script" || exit 1; done
ui:        # the runs, in a browser
	$(PY) -m mlflow ui
