# Needs Python 3.11 or newer and nothing else. Another interpreter: make install PYTHON=python3.12

PYTHON ?= python3

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check

# A stamp says that the environment fits these files, so that a second run starts at once.
PINS := pyproject.toml constraints.txt

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help install demo test bench lint clean

help: ## Show this list
	@sed -nE 's/^([a-z]+):.*## (.*)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

install: $(VENV)/.installed ## Install the backend into .venv

demo: $(VENV)/.installed ## Start Label Studio with the backend and pictures; IMAGES=folder takes yours
	@$(BIN)/label-studio-anomaly demo $(if $(IMAGES),"$(IMAGES)") $(DEMO_ARGS)

test: $(VENV)/.developing ## Run every test, those with a real Label Studio and a real browser too
	@OMP_WAIT_POLICY=passive $(BIN)/python -m pytest --numprocesses 2 $(PYTEST_ARGS)

bench: $(VENV)/.developing ## Measure accuracy, false alarms and speed on the data sets in ANOMALY_DATA
	@$(BIN)/python -m benchmarks.bench $(BENCH_ARGS)

lint: $(VENV)/.developing ## Check style and types
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy

clean: ## Remove the environment and what tools left behind
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find backend benchmarks model tests -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11")'
	@$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.installed: $(VENV)/.made $(PINS)
	@echo "Installing into $(VENV); the first time takes a few minutes and about 5 GB ..."
	@$(PIP) install --quiet --progress-bar on -c constraints.txt -e '.[plugin]'
	@touch $@

$(VENV)/.developing: $(VENV)/.made $(PINS)
	@echo "Installing into $(VENV), with what the tests need; the first time takes a few minutes and about 5 GB ..."
	@$(PIP) install --quiet --progress-bar on -c constraints.txt -e '.[plugin,test,lint]'
	@touch $@ $(VENV)/.installed
