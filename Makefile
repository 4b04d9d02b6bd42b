# make demo   simulate a scan, reduce it, reconstruct it, map its phases and draw the report
# make test   every test that needs no GPU
# make peers  the packages that results are compared with, for tests that are skipped without them
# make lint   format, types, layers;   make docs   the documentation;   make clean   forget all of it
#
# Everything happens in .venv, with the versions of constraints.txt. Debian, Python 3.11, GCC 12 or newer and
# make are enough.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := PIP_CONSTRAINT=constraints.txt $(BIN)/pip --disable-pip-version-check --quiet install
NATIVE := CMakeLists.txt $(wildcard src/friedel/kernels/native/*)
WORKERS ?= 2

.PHONY: environment demo test peers lint format docs clean

environment: $(VENV)/.project

$(VENV)/.pip: constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) --upgrade pip
	@touch $@

# Editable: the Python files are used where they lie; only the extension and the metadata are built.
$(VENV)/.project: $(VENV)/.pip pyproject.toml $(NATIVE)
	$(PIP) --editable '.[cluster]'
	@touch $@

$(VENV)/.development: $(VENV)/.project
	$(PIP) --group test --group lint --group docs
	@touch $@

demo: $(VENV)/.project
	$(BIN)/python examples/demo.py demo

test: $(VENV)/.development
	$(BIN)/python -m pytest -n $(WORKERS) -m "not gpu" $(PYTEST_ARGUMENTS)

# The packages that results are compared with, in an environment of their own.
peers: $(VENV)/.pip
	$(BIN)/python benchmarks/peers.py

lint: $(VENV)/.development
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

format: $(VENV)/.development
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: $(VENV)/.development
	$(BIN)/sphinx-build -W --keep-going -q -b html docs docs/_build/html
	@echo "The documentation is in docs/_build/html/index.html."

clean:
	rm -rf $(VENV) build dist demo docs/_build docs/reference/generated .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
