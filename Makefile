# make demo   train on the bundled digits for about two minutes, sample, and name the picture
# make test   install and run the tests
# make test-all   the slow tests too
# make check  style, types and the import layers
# make benchmark  training steps and sampling beside other packages, in one table

# What is imported is compiled once and kept, by the first process for the others.
unexport PYTHONDONTWRITEBYTECODE

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --maxprocesses 3

.PHONY: demo test test-all check benchmark clean

demo: $(VENV)/installed
	$(BIN)/unstir demo

test: $(VENV)/installed-dev
	$(PYTEST) -m "not slow"

test-all: $(VENV)/installed-dev
	$(PYTEST)

check: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

benchmark: $(VENV)/installed-dev
	$(BIN)/python -m pip install --disable-pip-version-check -q -e ".[benchmark]"
	$(BIN)/python -m benchmarks

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --disable-pip-version-check -q -e .
	touch $@

$(VENV)/installed-dev: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --disable-pip-version-check --no-compile -q -e ".[dev]"
	touch $@ $(VENV)/installed
