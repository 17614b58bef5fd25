# Two commands on a fresh machine: `make demo`, `make test`. Everything lives in .venv; delete it to start again.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin

SHELL := /bin/bash
.PHONY: help demo test test-server check bench clean
help:            ## what there is
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*##/ —/'

$(VENV)/.core: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.core
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev,hub]'
	@touch $@

demo: $(VENV)/.core  ## a dataset from the Python standard library: no key, no GPU, no model
	$(BIN)/magicoder run recipes/quickstart.yaml --out runs/quickstart

test: $(VENV)/.dev   ## all tests
	$(BIN)/python -m pytest -n 2 tests

$(VENV)-serve/.done: pyproject.toml constraints-serve.txt
	$(PYTHON) -m venv $(VENV)-serve
	$(VENV)-serve/bin/python -m pip install --quiet --constraint constraints-serve.txt torch 'transformers[serving]' --editable '.[transformers]'
	@touch $@

test-server: $(VENV)/.dev $(VENV)-serve/.done  ## a real model, behind a server and in process, on CPU (installs torch beside)
	MAGICODER_SERVE_ENV=$(VENV)-serve $(BIN)/python -m pytest tests/e2e/test_real_server.py tests/e2e/test_in_process.py

check: $(VENV)/.dev  ## format, lint, types, layers, size caps
	$(BIN)/ruff format --check src tests benchmarks
	$(BIN)/ruff check src tests benchmarks
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python tests/size_caps.py

bench: $(VENV)/.dev  ## measurements (docs/measurements.md); ENVS=FOLDER names a folder of peers' environments
	$(BIN)/python benchmarks/run.py $(if $(ENVS),--envs $(ENVS))

clean:               ## remove what make built
	rm -rf $(VENV) $(VENV)-serve build dist src/*.egg-info
