# Two commands on a fresh machine: `make demo`, `make test`. Everything lives in .venv; delete it to start again.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin

SHELL := /bin/bash
.PHONY: help demo demo-train test test-server test-train check bench clean
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

# torch stands in an environment of its own: most of what there is needs none.
$(VENV)-torch/.done: pyproject.toml constraints.txt constraints-torch.txt
	$(PYTHON) -m venv $(VENV)-torch
	$(VENV)-torch/bin/python -m pip install --quiet --constraint constraints.txt --constraint constraints-torch.txt torch 'transformers[serving]' --editable '.[transformers,train,trl,dev]'
	@touch $@

test-server: $(VENV)/.dev $(VENV)-torch/.done  ## a real model, behind a server and in process, on CPU (installs torch beside)
	MAGICODER_SERVE_ENV=$(VENV)-torch $(BIN)/python -m pytest tests/e2e/test_real_server.py tests/e2e/test_in_process.py

test-train: $(VENV)-torch/.done  ## training: on CPU, one and two processes
	OMP_NUM_THREADS=1 $(VENV)-torch/bin/python -m pytest -n 2 tests/training

demo-train: demo $(VENV)-torch/.done  ## a tiny model in two stages from the demo's dataset, on CPU, in minutes
	$(BIN)/magicoder run recipes/quickstart-instructions.yaml --out runs/quickstart-instructions
	$(VENV)-torch/bin/python scripts/tiny-model runs/tiny-base runs/quickstart/dataset
	$(VENV)-torch/bin/magicoder train recipes/train/quickstart.yaml --out runs/trained-quickstart $(if $(MAGICODER_DATA),--evaluate humaneval)

check: $(VENV)/.dev  ## format, lint, types, layers, size caps
	$(BIN)/ruff format --check src tests benchmarks
	$(BIN)/ruff check src tests benchmarks
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python tests/size_caps.py

bench: $(VENV)/.dev  ## measurements (docs/measurements.md); ENVS=FOLDER names a folder of peers' environments
	$(BIN)/python benchmarks/run.py $(if $(ENVS),--envs $(ENVS))

clean:               ## remove what make built
	rm -rf $(VENV) $(VENV)-torch build dist src/*.egg-info
