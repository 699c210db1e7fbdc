# Two commands on a fresh machine: `make demo` and `make test`. Both set up what they need.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.assay-installed
# Tiny models run faster on one thread, and a busy second core must not slow them down.
export OMP_NUM_THREADS ?= 1
export TOKENIZERS_PARALLELISM ?= false

.PHONY: setup test test-slow test-vllm test-servers lint bench demo clean

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,train]'
	touch $@

test: setup
	$(BIN)/python -m pytest -n 2 --dist loadfile --ignore=tests/vllm --ignore=tests/endpoint -m "not very_slow" $(TESTS)

test-slow: setup
	$(BIN)/python -m pytest -n 2 --dist loadfile --timeout 3600 -m very_slow tests

test-vllm: setup
	./scripts/setup_vllm.sh
	./scripts/test_vllm.sh
	$(BIN)/python -m pytest tests/endpoint

test-servers: setup
	./scripts/setup_servers.sh
	$(BIN)/python -m pytest tests/endpoint/test_server_conformance.py

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell harness benchmarks judges training reports tests bench docs scripts README.md CHANGELOG.md CONTRIBUTING.md

demo: setup
	$(BIN)/assay demo $(DEMO)

bench: setup
	$(BIN)/python bench/run_all.py

clean:
	rm -rf $(VENV) .venv-vllm .venv-servers .mypy_cache .ruff_cache .pytest_cache
