# `make demo` and `make test` do all the set-up on a bare machine with Python 3.11 or later.
# They need nothing but pip and PyPI; everything goes into .venv.

PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3; do command -v $$p && break; done)
BIN := .venv/bin
# Labs wait more than they compute: four workers keep two cores busy.
JOBS ?= 4
FAST := tests/unit tests/golden tests/properties tests/contracts tests/house
MEASURED := --cov --cov-report=

.PHONY: help demo test test-fast coverage check lint types layers docs picture soak bench lock clean

help:
	@echo "make demo     set up, start a real NATS fleet, rotate its CA under traffic, report"
	@echo "make test     set up, lint, check types, layers and docs, run all tests"
	@echo "make test-fast  the tests without processes   make coverage  of processes too"
	@echo "make lint     ruff          make types   mypy --strict"
	@echo "make layers   import-linter make docs    write the generated reference"
	@echo "make picture  record docs/demo.svg from a real run"
	@echo "make soak     rotate under traffic for a long time"
	@echo "make bench    all benchmarks, a table each"
	@echo "make lock     write requirements.lock anew from pyproject.toml"

.venv/ready: requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "no Python found: install Python 3.11 or later"; exit 1; }
	@echo "setting up: a virtual environment in .venv, packages from requirements.lock"
	@$(PYTHON) -m venv .venv 2>/dev/null || { echo "no venv module: using virtualenv from PyPI"; \
	  $(PYTHON) -m pip install --quiet --target .venv-tool virtualenv && \
	  PYTHONPATH=.venv-tool $(PYTHON) -m virtualenv --quiet .venv && rm -rf .venv-tool; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

demo: .venv/ready
	@$(BIN)/rollover demo

test: check
	@echo "running all tests"
	@$(BIN)/python -m pytest -n $(JOBS) --dist loadfile $(MEASURED)
	@$(BIN)/python tests/coverage_by_package.py

test-fast: .venv/ready
	@$(BIN)/python -m pytest -n $(JOBS) --dist worksteal $(FAST)

# All of it, and of the processes that tests start: takes two to three times as long.
coverage: .venv/ready
	@rm -f .coverage .coverage.*
	@$(BIN)/python -m coverage run --rcfile=tests/processes.coveragerc -m pytest -p no:pytest_cov \
	  -n $(JOBS) --dist loadfile --timeout 7200
	@$(BIN)/python -m coverage combine --quiet
	@$(BIN)/python tests/coverage_by_package.py --floors

check: lint types layers

lint: .venv/ready
	@echo "ruff"
	@$(BIN)/ruff check . && $(BIN)/ruff format --check --quiet .

types: .venv/ready
	@echo "mypy --strict"
	@$(BIN)/mypy

layers: .venv/ready
	@echo "import-linter"
	@$(BIN)/lint-imports --no-logo

docs: .venv/ready
	@$(BIN)/python docs/generate.py

picture: .venv/ready
	@$(BIN)/rollover demo --picture docs/demo.svg

soak: .venv/ready
	@$(BIN)/python -m pytest -m soak --timeout 7200
	@ROLLOVER_EXAMPLES_FACTOR=20 $(BIN)/python -m pytest -n $(JOBS) --timeout 7200 tests/properties

bench: .venv/ready
	@for each in benchmarks/*.py; do echo "== $$each"; $(BIN)/python $$each || exit 1; done

lock:
	@$(PYTHON) -m pip install --quiet uv
	@$(PYTHON) -m uv pip compile --quiet --generate-hashes --no-emit-index-url --no-header --no-annotate \
	  --python-version 3.11 --group dev --extra client --extra kubernetes --extra lab pyproject.toml -o requirements.lock

clean:
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis
