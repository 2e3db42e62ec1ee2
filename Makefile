# Two commands: `make demo` shows the product, `make test` proves it. Everything lives in .venv.
PYTHON ?= python3
BIN := .venv/bin
.DEFAULT_GOAL := help
.PHONY: help setup demo test check docs bench-footprint bench-agent bench-ingest bench-query crash fuzz interop matrix clean

help:  ## list the commands
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*##/\t/'

.venv/.made: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[server,demo,frameworks,dev]'
	@touch $@

setup: .venv/.made  ## make the virtual environment with everything in it

demo: .venv/.made  ## start the stack and the demo shop under load
	@$(BIN)/spanwise demo

test: .venv/.made  ## run all tests; installs headless Chromium if it may
	@./tests/install-chromium
	$(BIN)/pytest -n 2 --dist worksteal

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

bench-ingest: .venv/.made  ## how fast the collector takes, indexes and stores
	PYTHONPATH=tests $(BIN)/python tests/bench/ingest.py

bench-query: .venv/.made  ## how fast questions are answered at ten million spans
	PYTHONPATH=tests $(BIN)/python tests/bench/query.py

bench-agent: .venv/.made  ## what the agent costs a Flask and a FastAPI app, and each of its features
	PYTHONPATH=tests $(BIN)/python tests/bench/agent.py

matrix: .venv/.made  ## try the agent with every framework, server and database; writes docs/reference/agent-matrix.md
	$(BIN)/pytest -q tests/otel_agent/matrix --matrix-report docs/reference/agent-matrix.md

crash: .venv/.made  ## 100 x kill -9 and 30 power cuts under load; the latter need root
	PYTHONPATH=tests $(BIN)/python tests/crash/kill.py
	PYTHONPATH=tests $(BIN)/python tests/crash/power_cut.py

fuzz: .venv/.made  ## 200,000 mutated requests against a live collector
	PYTHONPATH=tests $(BIN)/python tests/fuzz/run.py

interop: .venv/.made  ## send through an upstream Collector and from Node; builds and installs both
	PYTHONPATH=tests $(BIN)/python tests/interop/otelcol.py
	PYTHONPATH=tests $(BIN)/python tests/interop/node/packages.py
	$(BIN)/pytest tests/interop

clean:  ## remove the virtual environment and caches
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache
