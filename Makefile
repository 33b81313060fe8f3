# Everything a person needs: `make up` from a fresh clone, with Python 3.11 or newer and nothing else.
# Every target may be repeated; what is done already is not done again.

VENV := .venv
PYTHON := $(VENV)/bin/python
PIP := $(PYTHON) -m pip install --quiet --disable-pip-version-check
UV := UV_PYTHON_DOWNLOADS=never UV_PYTHON=$(PYTHON) $(VENV)/bin/uv pip compile --quiet --universal --upgrade \
  --python-version 3.11 --generate-hashes --no-emit-index-url --default-index https://pypi.org/simple \
  --custom-compile-command "make lock" pyproject.toml --extra install
# Tests and the service never use more threads in numpy than they are given: shards are the parallelism.
export OPENBLAS_NUM_THREADS ?= 1
export OMP_NUM_THREADS ?= 1
export MKL_NUM_THREADS ?= 1

.PHONY: help up install develop test lint format bench chaos openapi docs lock clean
.DEFAULT_GOAL := help

help:  ## List the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/  make \1\t\2/' | expand -t 18

up: install  ## Start everything: database, API, one worker (HOST, PORT, DATA_DIR, DATABASE_URL)
	@exec $(VENV)/bin/collapse up

install: $(VENV)/.installed  ## Create .venv and install what the service needs, as locked

develop: $(VENV)/.developing  ## The same with what its tests and checks need

test: develop  ## Run all tests on an embedded database of their own
	$(PYTHON) -m tests

lint: develop  ## Style, types, import contracts
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(PYTHON) -m mypy
	$(VENV)/bin/lint-imports

format: develop  ## Format the code and repair what can be repaired
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

bench: develop  ## Time the theory, the API and the simulations
	$(PYTHON) -m benchmarks.table
	$(PYTHON) -m benchmarks.mixes
	$(PYTHON) -m benchmarks.http_rates
	$(PYTHON) -m pytest benchmarks --benchmark-only
	$(PYTHON) -m benchmarks.simulation_speed
	$(PYTHON) -m benchmarks.simulation_cost
	$(PYTHON) -m benchmarks.shard_overhead
	$(PYTHON) -m benchmarks.beside_predictions

chaos: develop  ## Simulations while workers are killed and frozen and PostgreSQL restarted: the full run, minutes
	cd tests/processes && PYTHONPATH=$(CURDIR) $(abspath $(PYTHON)) chaos.py

openapi: install  ## Write openapi/openapi.json
	$(PYTHON) -m openapi.export

docs: develop  ## Run the examples of README and docs and write what they print
	COLLAPSE_UPDATE_DOCS=1 $(PYTHON) -m pytest tests/docs

lock: develop  ## Resolve the dependencies anew into the two lock files (needs the internet)
	$(UV) --output-file requirements.lock
	$(UV) --extra dask --extra dev --constraint requirements.lock --output-file requirements-dev.lock

clean:  ## Remove .venv and all caches; data directories stay
	rm -rf $(VENV) *.egg-info build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache \
	  .benchmarks .coverage .test-data
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# A venv that an interrupt left half made is made again; the stamp comes last.
$(VENV)/.installed: requirements.lock pyproject.toml
	@set -e; \
	if ! $(PYTHON) -m pip --version >/dev/null 2>&1; then \
	  base=; \
	  for candidate in $${BASE_PYTHON:-python3 python3.14 python3.13 python3.12 python3.11 python}; do \
	    if "$$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then \
	      base=$$candidate; break; \
	    fi; \
	  done; \
	  if [ -z "$$base" ]; then \
	    echo "Python 3.11 or newer was not found; name it: make BASE_PYTHON=/path/to/python3" >&2; exit 1; \
	  fi; \
	  echo "Creating $(VENV) with $$($$base --version)"; \
	  "$$base" -m venv --clear $(VENV) || { \
	    echo "Python's venv module does not work (Debian, Ubuntu: apt install python3-venv)" >&2; exit 1; }; \
	fi; \
	echo "Installing the locked dependencies into $(VENV)"; \
	$(PIP) --require-hashes -r requirements.lock; \
	$(PIP) --no-deps --no-build-isolation -e .; \
	touch $@

$(VENV)/.developing: requirements-dev.lock $(VENV)/.installed
	@echo "Installing what tests and checks need into $(VENV)"
	@$(PIP) --require-hashes -r requirements-dev.lock
	@touch $@
