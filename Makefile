# Every target sets up .venv by itself; a second run finds the stamp and starts at once.
# `make` alone lists the targets. No Node, GPU or model hub is needed for any of them.

.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:

# torch's build depends on the machine, so it is not in the lock: this version, on its own.
# Another build: make setup TORCH='torch==2.13.0 --index-url https://download.pytorch.org/whl/cpu'
TORCH ?= torch==2.13.0
TORCH_OLDEST ?= torch==2.13.0
TORCH_NEWEST ?= torch
VENV := .venv
PY := $(VENV)/bin/python
READY := $(VENV)/.ready
TOOLS := $(VENV)/.ready-tools
WORKSPACE ?= workspace/demo
SERVE ?= 1
PORT ?= 8000
JOBS ?= 2
ARGS ?=
CODE := src tests recipes benchmarks

.PHONY: help setup demo test test-oldest test-newest test-wheel lock check format bench figures gpu-check clean

help:  ## this list
	@echo "semascope: what a multimodal model's features are, mean and do"
	@echo
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' \
	  | expand -t 20
	@echo
	@echo "  settings: WORKSPACE=$(WORKSPACE) SERVE=$(SERVE) PORT=$(PORT) JOBS=$(JOBS) ARGS='$(ARGS)'"

setup: $(TOOLS)  ## make .venv with all that the other targets need (minutes, once)

$(READY): pyproject.toml hatch_build.py locks/run.txt .ci/setup
	@./.ci/setup "$(VENV)" "$(TORCH)" locks/run.txt
	@touch $@
	@echo "[setup] done: $(VENV)"

# From nothing, the tools' lock holds all of the other; after a demo only the rest is missing.
$(TOOLS): pyproject.toml hatch_build.py locks/dev.txt .ci/setup
	@./.ci/setup "$(VENV)" "$(TORCH)" locks/dev.txt
	@touch $(READY) $@
	@echo "[setup] done: $(VENV)"

demo: $(READY)  ## explain the embedded model's features, then open the page (SERVE=0: no page)
	@$(if $(filter 0 no false,$(SERVE)),:,$(PY) hatch_build.py) \
	  || echo "[demo] the page could not be built; its HTTP interface works without it" >&2
	@$(VENV)/bin/semascope demo --workspace "$(WORKSPACE)" --port $(PORT) \
	  $(if $(filter 0 no false,$(SERVE)),--no-serve,--serve) $(ARGS)

test: $(TOOLS)  ## all tests, on $(JOBS) processes; ARGS='-k name' for a few
	@echo "[test] the page: vitest"
	@$(PY) hatch_build.py --test
	@$(RUN_TESTS)

define RUN_TESTS
$(VENV)/bin/semascope model fetch >/dev/null \
  || echo "[test] SmolLM2 could not be fetched: tests of the embedded model will skip"; \
echo "[test] pytest on $(JOBS) processes, one thread each"; \
OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false \
  $(PY) -m pytest -q -n $(JOBS) --dist loadgroup $(ARGS)
endef

lock:  ## resolve pyproject.toml into locks/, keeping what fits; UPGRADE=1 takes the newest
	@./.ci/lock "$(TORCH)" $(if $(UPGRADE),--upgrade)
	@./.ci/lock "$(TORCH_OLDEST)" --oldest

test-oldest:  ## all tests with the lowest versions that pyproject.toml allows, in .venv-oldest
	@./.ci/setup .venv-oldest "$(TORCH_OLDEST)" locks/oldest.txt
	@$(MAKE) --no-print-directory test-with VENV=.venv-oldest

test-newest:  ## all tests with the newest of everything, not the lock, in .venv-newest
	@./.ci/venv .venv-newest
	@.venv-newest/bin/python -m pip install --quiet --no-compile --upgrade "$(TORCH_NEWEST)"
	@.venv-newest/bin/python -m pip install --quiet --no-compile --upgrade --upgrade-strategy eager \
	  -r .ci/build.txt -e '.[dev]'
	@$(MAKE) --no-print-directory test-with VENV=.venv-newest

test-wheel:  ## the wheel in an empty environment outside the repository, and a small demo there
	@./.ci/wheel "$(TORCH)"

.PHONY: test-with
test-with:
	@$(PY) -m pip list --format freeze | grep -E '^(torch|transformers|numpy|pydantic|tokenizers)='
	@$(RUN_TESTS)

check: $(TOOLS)  ## formatting, lint and strict types of the code and the page; changes nothing
	@echo "[check] the page: types of the schema, prettier, svelte-check"
	@$(PY) hatch_build.py --check
	@echo "[check] ruff format, ruff check, mypy --strict"
	@$(VENV)/bin/ruff format --check $(CODE)
	@$(VENV)/bin/ruff check $(CODE)
	@$(VENV)/bin/mypy

format: $(TOOLS)  ## let ruff format the code
	@$(VENV)/bin/ruff format $(CODE)
	@$(VENV)/bin/ruff check --fix $(CODE)

bench: $(TOOLS)  ## speed and memory, measured here, into docs/figures
	@$(PY) -m benchmarks $(ARGS)

figures: $(TOOLS)  ## write the measured figures of docs/figures into README and docs
	@$(PY) -m recipes.figures $(ARGS)

gpu-check: $(TOOLS)  ## on a machine with a GPU: the CPU's answers, and a training step against its roofline
	@$(PY) -m benchmarks.gpu_check $(ARGS)

clean:  ## remove .venv and what the tools cached; workspaces stay
	rm -rf $(VENV) .venv-lock .venv-oldest .venv-newest .pytest_cache .mypy_cache .ruff_cache .hypothesis
