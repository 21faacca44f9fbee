# Each target makes what it needs: `make demo` or `make test` in a fresh clone is enough.
#   make PYTHON=python3.12 test             another Python (3.11 or newer)
#   make TORCH='torch==2.13.0+cpu' test     another build of torch; pip options may follow the name
#   make LOCK=requirements-lock.txt test    the versions that CI tests with, and no others

PYTHON ?= python3
TORCH ?= torch==2.13.0
LOCK ?=

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
LOCKED := $(if $(LOCK),--constraint $(LOCK))

.PHONY: help setup demo test lint docs bench clean

help:
	@echo 'make demo    light environment, then hear and see what duende does (writes demo/)'
	@echo 'make test    development environment, then every check and test'
	@echo 'make lint    the checks alone: ruff, mypy, import layers, licences'
	@echo 'make docs    the documentation as pages: build/site/index.html; broken links fail'
	@echo 'make bench   the benchmarks, one after the other'
	@echo 'make setup   the development environment alone'
	@echo 'make clean   remove what was built; remove $(VENV) yourself to start over'

# The stamps lie in .venv, so that they go when it goes.
$(VENV)/stamp-venv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo 'duende needs Python 3.11 or newer as "$(PYTHON)"; name another one: make PYTHON=python3.12' >&2; exit 1; }
	@echo 'making $(VENV)'
	@$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/stamp-light: pyproject.toml | $(VENV)/stamp-venv
	@echo 'installing the light environment (once; a minute)'
	@$(PIP) install $(LOCKED) -e '.[cpu,plot]'
	@touch $@

# Holds all of the light environment too: `make demo` after `make test` installs nothing.
$(VENV)/stamp-dev: pyproject.toml | $(VENV)/stamp-venv
	@echo 'installing the development environment, torch included (once; some minutes)'
	@$(PIP) install $(LOCKED) $(TORCH)
	@$(PIP) install $(LOCKED) -e '.[cpu,fx,train,text,cluster,midi,gui,docs,dev]'
	@touch $(VENV)/stamp-light $@

setup: $(VENV)/stamp-dev

demo: $(VENV)/stamp-light
	@$(BIN)/duende demo

lint: $(VENV)/stamp-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/python tests/licences.py

docs: $(VENV)/stamp-dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build

# Two at a time what does not mind; alone what plays, or waits for processes that others would hold up.
# A test process that dies ends the run: pytest-xdist 3.8 with loadfile can wait for its replacement for ever.
test: lint docs
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --max-worker-restart=0 -m 'not live and not alone'
	$(BIN)/python -m pytest -m 'live or alone'

bench: $(VENV)/stamp-dev
	@for f in bench/*.py; do [ -e "$$f" ] || continue; echo "== $$f"; $(BIN)/python "$$f" || exit 1; done

clean:
	rm -rf build dist demo duende.egg-info .coverage .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find . -path ./$(VENV) -prune -o -type d -name __pycache__ -prune -exec rm -rf {} +
