# Two commands: `make demo` shows the product, `make test` proves it. Everything lives in .venv.
PYTHON ?= python3
BIN := .venv/bin
.DEFAULT_GOAL := help
.PHONY: help setup demo test check docs bench-footprint clean

help:  ## list the commands
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*##/\t/'

.venv/.made: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[server,demo,dev]'
	@touch $@

setup: .venv/.made  ## make the virtual environment with everything in it

demo: .venv/.made  ## start the stack and the demo shop under load
	@$(BIN)/spanwise demo

test: .venv/.made  ## run all tests; installs headless Chromium if it may
	@./tests/install-chromium
	$(BIN)/pytest

check: .venv/.made  ## ruff, mypy, import-linter, house rules
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/interrogate -q tests
	$(BIN)/pytest -q tests/house

docs: .venv/.made  ## write docs/reference anew from the code
	$(BIN)/python docs/generate.py

bench-footprint: .venv/.made  ## memory and CPU of the stack under the demo's default load
	PYTHONPATH=tests $(BIN)/python tests/bench/footprint.py

clean:  ## remove the virtual environment and caches
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache
