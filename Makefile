# Two commands matter: `make demo` and `make test`. Both set up everything they need in .venv.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready

export DO_NOT_TRACK := 1

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint types imports unit clean

help: ## Show the commands
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: $(READY) ## Make the virtual environment with the pinned versions

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || { \
	  echo "lifecycle needs Python 3.11, and $(PYTHON) is $$($(PYTHON) --version 2>&1). Install it, or name it: make PYTHON=/path/to/python3.11 ..." >&2; exit 1; }
	@echo "Installing pinned versions into $(VENV) (a minute or two) ..."
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@$(BIN)/lifecycle warm
	@touch $@

demo: $(READY) ## Run everything end to end on generated data, then say what to try next
	@$(BIN)/lifecycle demo

test: $(READY) lint types imports unit ## Check style, types and imports, then run all tests

lint: $(READY)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: $(READY)
	@$(BIN)/mypy

imports: $(READY)
	@$(BIN)/lint-imports

unit: $(READY)
	@$(BIN)/pytest -n 2 --dist loadfile --cov --cov-report=term:skip-covered $(PYTEST_ARGS)

clean: ## Remove everything generated (the virtual environment and all lakes)
	rm -rf $(VENV) .lifecycle .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
