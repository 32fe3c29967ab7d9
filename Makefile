# Short verbs; each is a line you can type yourself.
PY := .venv/bin/python
.PHONY: setup run test test-all nightly lint format bench ui

setup:     # tools, .venv and packages, those of the developers too
	bash setup.sh dev
run:       # the main job
	$(PY) run.py
test:      # the fast tests
	$(PY) -m pytest -m "not slow and not nightly"
test-all:  # all tests that CI runs
	$(PY) -m pytest
nightly:   # before a release: the main job on the 0.5B, and the audit of every koan and pair
	$(PY) -m pytest -m nightly
lint:
	$(PY) -m ruff check . && $(PY) -m ruff format --check . && $(PY) -m mypy && .venv/bin/lint-imports --no-logo --no-cache
format:
	$(PY) -m ruff check --fix . && $(PY) -m ruff format .
bench:     # side-by-side timings, printed as ratios
	for script in bench/*.py; do $(PY) "$$script" || exit 1; done
ui:        # the runs, in a browser
	$(PY) -m mlflow ui
