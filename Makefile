# One command each, from a fresh clone, on a machine with nothing but Python 3.11+. `make` alone prints this list.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= $(firstword $(foreach p,python3.13 python3.12 python3.11 python3 python,$(if $(shell command -v $(p) 2>/dev/null),$(p))))
VENV := .venv
BIN := $(VENV)/bin
DEMO := demo-run
.PHONY: help install install-dev demo test test-slow lint types imports check bench clean

help:  ## print this list
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, found " + sys.version if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml | $(BIN)/python
	@echo "installing into $(VENV) (the first time: minutes, several GB) ..."
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[report]'
	@touch $@

$(VENV)/.installed-dev: pyproject.toml | $(BIN)/python
	@echo "installing into $(VENV) with test tools (the first time: minutes, several GB) ..."
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@ $(VENV)/.installed

install: $(VENV)/.installed  ## create .venv and install the package
install-dev: $(VENV)/.installed-dev  ## the same with everything the tests need

demo: $(VENV)/.installed  ## simulate, shard, embed, pretrain, export, probe, report: the whole road in minutes
	@PATH="$(CURDIR)/$(BIN):$$PATH" bash configs/demo.sh $(DEMO)

test: $(VENV)/.installed-dev  ## the default test suite
	$(BIN)/python -m pytest -n 2 -m "not slow"

test-slow: $(VENV)/.installed-dev  ## the tests that take minutes
	$(BIN)/python -m pytest -n 2 -m slow --timeout 1800

lint: $(VENV)/.installed-dev  ## ruff
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.installed-dev  ## mypy
	$(BIN)/mypy

imports: $(VENV)/.installed-dev  ## who may import whom
	$(BIN)/lint-imports

check: lint types imports test  ## everything that CI runs

clean:  ## remove what the demo and the tools made; .venv stays
	rm -rf $(DEMO) .pytest_cache .ruff_cache .mypy_cache .import_linter_cache
