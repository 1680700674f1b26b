# lorad: see README.md. Every target sets up what it needs.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV := .venv
TOOLS := .venv-tools
BIN := $(VENV)/bin
# Extra arguments for pip: on a machine without CUDA, an index of CPU builds of torch saves gigabytes.
PIP_FLAGS ?=
# On the base as the demo's adapter was trained: it makes up for that base's rounding too.
SERVE_FLAGS ?= --quantization nf4
# Each holds a model or two: a few gigabytes.
TEST_PROCESSES ?= 2
# Where `make demo` and `make serve` keep the base and the registry.
export LORAD_HOME ?= $(CURDIR)/.lorad

INSTALLED := $(VENV)/.installed
TOOLS_INSTALLED := $(TOOLS)/.installed
PACKAGES := storage base corpus adapters training evaluation service

.PHONY: help setup base demo serve test check bench reference format clean

help: ## Show this list.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(INSTALLED) base ## Make .venv, install lorad, prepare the default base.

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("lorad needs Python 3.11 or newer, this is " + sys.version) if sys.version_info < (3, 11) else None'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_FLAGS) -c constraints.txt -e '.[dev]'
	touch $@

base: $(INSTALLED)
	@$(BIN)/lorad base fetch smollm2-135m-instruct > /dev/null

demo: setup ## Train an adapter on questions about lorad, serve it, compare it with the base.
	$(BIN)/python examples/demo.py $(if $(RETRAIN),--retrain)

serve: setup ## Serve the base and every adapter in the registry on http://127.0.0.1:8000.
	$(BIN)/lorad serve $(SERVE_FLAGS)

test: setup ## Run the whole test suite.
	HF_HUB_OFFLINE=1 $(BIN)/python -m pytest --numprocesses $(TEST_PROCESSES) --dist loadfile --no-loadscope-reorder

check: $(INSTALLED) $(TOOLS_INSTALLED) ## Lint, types, layers, container and cluster manifests.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy $(addprefix -p ,$(PACKAGES))
	$(BIN)/mypy tests examples/demo.py
	$(BIN)/lint-imports
	k8s/check.sh

$(TOOLS_INSTALLED): requirements-tools.txt
	test -x $(TOOLS)/bin/python || $(PYTHON) -m venv $(TOOLS)
	$(TOOLS)/bin/python -m pip install --quiet --disable-pip-version-check -r requirements-tools.txt
	touch $@

bench: setup ## Held-out gain on real data sets: make bench DATA=DIR.
	$(BIN)/python benchmarks/held_out_gain.py --data $(DATA)

reference: $(INSTALLED) ## Write docs/reference from the code.
	$(BIN)/python docs/reference.py

format: $(INSTALLED) ## Format the code.
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## Remove what make made, adapters and bases included.
	rm -rf $(VENV) $(TOOLS) .lorad .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
