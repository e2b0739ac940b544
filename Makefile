# `make demo` installs the run time and runs the demo; `make test` installs everything and runs the tests.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
UV_VERSION := 0.9
VENV := .venv
RUNTIME := .venv-run
BIN := $(VENV)/bin
UV := .uv/bin/uv

.PHONY: setup setup-run demo test test-all lint format docs constraints clean

$(UV):
	@command -v $(PYTHON) >/dev/null || { echo "passerby needs Python 3.11 or newer: install it, or give its name: make PYTHON=python3.12 ..."; exit 2; }
	$(PYTHON) -m venv .uv
	.uv/bin/pip install --quiet "uv>=$(UV_VERSION)"

$(RUNTIME)/.done: pyproject.toml constraints.txt | $(UV)
	$(UV) venv --quiet --allow-existing --python $(PYTHON) $(RUNTIME)
	$(UV) pip install --quiet --python $(RUNTIME)/bin/python --constraints constraints.txt -e .
	@touch $@

$(VENV)/.done: pyproject.toml constraints.txt | $(UV)
	$(UV) venv --quiet --allow-existing --python $(PYTHON) $(VENV)
	$(UV) pip install --quiet --python $(BIN)/python --constraints constraints.txt -e '.[train,web,redis,dev]'
	@touch $@

setup: $(VENV)/.done ## install everything that tests and training need

setup-run: $(RUNTIME)/.done ## install the run time only, without torch

demo: setup-run ## track people in OpenCV's pedestrian clip; results in demo/
	$(RUNTIME)/bin/passerby demo -o demo

test: setup
	$(BIN)/python -m pytest -m "not slow" -n auto --dist loadfile --no-loadscope-reorder

test-all: setup
	$(BIN)/python -m pytest

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: setup ## generate docs/api.md, docs/configuration.md and the JSON Schemas from the code
	$(BIN)/python docs/generate.py

constraints: $(UV) ## pin the newest versions, without index addresses
	$(UV) pip compile --quiet --universal --python-version 3.11 --all-extras --no-annotate --no-header --no-emit-index-url --no-emit-find-links pyproject.toml -o constraints.txt

clean:
	rm -rf $(VENV) $(RUNTIME) .uv demo build *.egg-info
