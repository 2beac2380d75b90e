# Everything a person does here often. `make help` lists it.
PYTHON ?= python3
PAHA_PRESET ?= demo
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

# `dagster job execute -j NAME` finds the project by this alone; a .env file can't set it.
export DAGSTER_CLI_JOB_EXECUTE_MODULE_NAME := pipelines.definitions
export DO_NOT_TRACK := 1
export HF_HUB_DISABLE_TELEMETRY := 1
# Containers often set it; then each of a run's processes compiles every module that it imports again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help install demo test test-gpu lint ui bench clean
.DEFAULT_GOAL := help

help:
	@echo "make install   .venv with the pinned dependencies and this project"
	@echo "make demo      the whole pipeline on the embedded corpus, up to a video and a report"
	@echo "make test      the tests"
	@echo "make test-gpu  the tests that need a CUDA device, which make test skips without one"
	@echo "make lint      ruff and mypy"
	@echo "make ui        Dagster's UI and daemon on http://127.0.0.1:3000"
	@echo "make bench     the measurements in benchmarks/"
	@echo "make clean     remove .venv, Dagster's history and caches; results in runs/ stay"
	@echo "PAHA_PRESET=NAME and PAHA_STORE=URL choose another preset and place (demo, runs/NAME)."

install: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	@# --no-compile: to compile all 28,000 modules takes a minute; what is imported is compiled then
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile \
	  -c constraints.txt -e '.[dev]'
	@for line in DAGSTER_CLI_JOB_EXECUTE_MODULE_NAME=pipelines.definitions DO_NOT_TRACK=1 \
	  HF_HUB_DISABLE_TELEMETRY=1; do \
	  grep -q "^export $$line$$" $(BIN)/activate || echo "export $$line" >> $(BIN)/activate; done
	@touch $@

demo: install
	@$(BIN)/paha preset check $(PAHA_PRESET)
	@$(BIN)/paha reap
	$(BIN)/dagster job execute -j full_rebuild
	@$(BIN)/paha results

test: install
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

test-gpu: install
	$(BIN)/python -m pytest -m gpu -vv

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

ui: install
	$(BIN)/dagster dev --host 127.0.0.1 --port 3000

bench: install
	@for file in benchmarks/*.py; do \
	  [ -f "$$file" ] || continue; echo "== $$file"; $(BIN)/python "$$file" || exit 1; done

clean:
	rm -rf $(VENV) .dagster build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
	find assets paha_core pipelines tests -name __pycache__ -type d -prune -exec rm -rf {} +
