# One command each, from a fresh clone, on a machine with nothing but Python 3.11+. `make` alone prints this list.
.DEFAULT_GOAL := help
SHELL := /bin/bash
# The first Python on the machine that runs, is new enough and can make environments; `make PYTHON=...` names another.
USABLE := import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(firstword $(foreach p,python3 python3.13 python3.12 python3.11 python,$(shell $(p) -c '$(USABLE)' 2>/dev/null && echo $(p))))
VENV := .venv
BIN := $(VENV)/bin
DEMO := demo-run
.PHONY: help install install-dev demo test test-slow test-faults oldest doctest examples headers docs coverage lint types imports check bench clean

help:  ## print this list
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "error: no Python 3.11 or newer with venv found; try: make PYTHON=/path/to/python3" >&2; exit 2; }
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

demo: $(VENV)/.installed  ## the whole pipeline on a simulated world, in minutes: studies/demo
	@$(BIN)/python studies/demo/run.py $(DEMO)

test: $(VENV)/.installed-dev  ## the default test suite
	$(BIN)/python -m pytest -n 2 -m "not slow"

test-slow: $(VENV)/.installed-dev  ## the tests that take minutes
	$(BIN)/python -m pytest -n 2 -m "slow and not faults" --timeout 7200

test-faults: $(VENV)/.installed-dev  ## damaged files, killed processes, full disks, load: counts of right outcomes, about an hour
	$(BIN)/python -m pytest -n 2 -m faults --timeout 7200 tests/faults

oldest:  ## the default suite with the oldest dependencies that pyproject.toml allows, in .venv-oldest; needs uv
	$(PYTHON) -m uv venv --quiet --clear .venv-oldest
	$(PYTHON) -m uv pip install --quiet --python .venv-oldest --resolution lowest-direct -e .
	$(PYTHON) -m uv pip install --quiet --python .venv-oldest pytest pytest-xdist pytest-timeout hypothesis
	.venv-oldest/bin/python -m pytest -n 2 -m "not slow"

doctest: $(VENV)/.installed-dev  ## the examples of docstrings, README and docs
	$(BIN)/python -m pytest tests/docs

examples: $(VENV)/.installed-dev  ## the scripts of examples/, each in a folder of its own
	$(BIN)/python -m pytest tests/docs/test_examples.py

headers: $(VENV)/.installed-dev  ## differences from the faithful configs, in the headers of configs/pretrain
	$(BIN)/python -m tests.configs.headers

docs: $(VENV)/.installed-dev  ## the documentation site in site/; every warning is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

coverage: $(VENV)/.installed-dev  ## line and branch coverage of the default suite, in coverage/
	$(BIN)/python -m pytest -n 2 -m "not slow" --cov=imu_video --cov=pretrain --cov=eval --cov-branch --cov-report=term --cov-report=html:coverage

lint: $(VENV)/.installed-dev  ## ruff
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.installed-dev  ## mypy
	$(BIN)/mypy

imports: $(VENV)/.installed-dev  ## who may import whom
	$(BIN)/lint-imports

bench: $(VENV)/.installed-dev  ## speed as ratios against named alternatives, minutes
	@for b in benchmarks/bench_*.py; do OMP_NUM_THREADS=1 $(BIN)/python $$b || exit 1; done

check: lint types imports test  ## everything that CI runs

clean:  ## remove what the demo and the tools made; .venv stays
	rm -rf $(DEMO) site coverage .coverage .pytest_cache .ruff_cache .mypy_cache .import_linter_cache
