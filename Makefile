# `make demo` and `make test` do all the set-up on a bare machine with Python 3.11 or later.
# They need nothing but pip and PyPI; everything goes into .venv.

PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3; do command -v $$p && break; done)
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
# Labs wait more than they compute: three workers keep two cores busy.
JOBS ?= 3
# Leaves first: whoever stands behind needs those before it.
PACKAGES := nats-config bosh-interpolate nats-rotating-client rollover rollover-lab
PROJECTS := $(PACKAGES:%=packages/%/pyproject.toml)
# SlipCover takes a tenth of what coverage.py takes (decision 0022).
MEASURE := -m slipcover --branch --source packages --json --out .coverage.json

.PHONY: help demo test test-fast coverage check lint types layers docs docs-site picture soak bench wheels lock clean

help:
	@echo "make demo      set up, start a real NATS fleet, rotate its CA under traffic, report"
	@echo "make test      set up, lint, check types, layers and docs, run all tests"
	@echo "make test-fast the tests without processes   make coverage  of processes too"
	@echo "make lint      ruff          make types   mypy --strict"
	@echo "make layers    import-linter make docs    write the generated reference"
	@echo "make docs-site the documentation as a site, in docs/_build/site"
	@echo "make picture   record docs/demo.svg from a real run"
	@echo "make soak      rotate under traffic for a long time, kill again and again"
	@echo "make bench     all benchmarks, a table each"
	@echo "make wheels    a wheel of each distribution, in dist"
	@echo "make lock      write requirements.lock anew from the pyproject files"

.venv/ready: requirements.lock pyproject.toml $(PROJECTS)
	@test -n "$(PYTHON)" || { echo "no Python found: install Python 3.11 or later"; exit 1; }
	@echo "setting up: a virtual environment in .venv, packages from requirements.lock"
	@$(PYTHON) -m venv .venv 2>/dev/null || { echo "no venv module: using virtualenv from PyPI"; \
	  $(PYTHON) -m pip install --quiet --target .venv-tool virtualenv && \
	  PYTHONPATH=.venv-tool $(PYTHON) -m virtualenv --quiet .venv && rm -rf .venv-tool; }
	@$(PIP) --require-hashes -r requirements.lock
	@$(PIP) --no-deps --no-build-isolation $(PACKAGES:%=-e packages/%)
	@touch $@

demo: .venv/ready
	@$(BIN)/rollover demo

test: check
	@echo "running all tests"
	@$(BIN)/python $(MEASURE) -m pytest -n $(JOBS) --dist loadfile
	@$(BIN)/python tests/coverage_by_package.py .coverage.json

test-fast: .venv/ready
	@$(BIN)/python -m pytest -n $(JOBS) --dist worksteal --ignore-glob='*/integration/*'

# All of it, and of the processes that tests start: takes two to three times as long.
coverage: .venv/ready
	@rm -f .coverage .coverage.*
	@$(BIN)/python -m coverage run --rcfile=tests/processes.coveragerc -m pytest -n $(JOBS) \
	  --dist loadfile --timeout 7200
	@$(BIN)/python -m coverage combine --quiet
	@$(BIN)/python -m coverage json --quiet -o .coverage.json
	@$(BIN)/python tests/coverage_by_package.py .coverage.json --floors

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

docs-site: .venv/ready
	@$(BIN)/python -m sphinx -q -W --keep-going -b html docs docs/_build/site
	@echo "written: docs/_build/site/index.html"

picture: .venv/ready
	@$(BIN)/rollover demo --picture docs/demo.svg

soak: .venv/ready
	@$(BIN)/python -m pytest -m soak --timeout 7200
	@ROLLOVER_EXAMPLES_FACTOR=20 $(BIN)/python -m pytest -n $(JOBS) --timeout 7200 packages/*/tests/properties

bench: .venv/ready
	@for program in benchmarks/*.py; do echo "== $$program"; $(BIN)/python $$program || exit 1; done

wheels: .venv/ready
	@for package in $(PACKAGES); do $(BIN)/python -m pip wheel --quiet --disable-pip-version-check \
	  --no-deps --no-build-isolation --wheel-dir dist packages/$$package || exit 1; done
	@ls dist

lock:
	@$(PYTHON) -m pip install --quiet uv
	@$(PYTHON) -m uv pip compile --quiet --generate-hashes --no-emit-index-url --no-header --no-annotate \
	  --python-version 3.11 --group dev --extra kubernetes $(PROJECTS) -o requirements.lock \
	  --no-emit-package bosh-interpolate --no-emit-package nats-config \
	  --no-emit-package nats-rotating-client --no-emit-package rollover-ca --no-emit-package rollover-lab

clean:
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis dist docs/_build
