# Every target sets up .venv by itself; a second run finds the stamp and starts at once.
# `make` alone lists the targets. No Node, GPU or model hub is needed for any of them.

.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:

# PyPI's newest torch may bring gigabytes of CUDA; this one is installed first, on its own.
# Another build: make setup TORCH='torch==2.13.0 --index-url https://download.pytorch.org/whl/cpu'
TORCH ?= torch==2.13.0
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

.PHONY: help setup demo test check format bench figures gpu-check clean

help:  ## this list
	@echo "semascope: what a multimodal model's features are, mean and do"
	@echo
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' \
	  | expand -t 18
	@echo
	@echo "  settings: WORKSPACE=$(WORKSPACE) SERVE=$(SERVE) PORT=$(PORT) JOBS=$(JOBS) ARGS='$(ARGS)'"

setup: $(TOOLS)  ## make .venv with all that the other targets need (minutes, once)

$(READY): pyproject.toml $(wildcard hatch_build.py)
	@./.ci/venv "$(VENV)"
	@echo "[setup] torch first, on its own: $(TORCH)"
	@$(PY) -m pip install --quiet --no-compile $(TORCH)
	@echo "[setup] semascope and its web page (a few minutes the first time)"
	@$(PY) -m pip install --quiet --no-compile -e '.[embed]'
	@# pip compiles on one core; some templates in packages are no Python and never compile
	@$(PY) -m compileall -q -j 0 $(VENV)/lib >/dev/null 2>&1 || true
	@touch $@
	@echo "[setup] done: $(VENV)"

$(TOOLS): $(READY)
	@echo "[setup] the tools that test and check it"
	@$(PY) -m pip install --quiet -e '.[dev]'
	@touch $@

demo: $(READY)  ## explain the embedded model's features, then open the page (SERVE=0: no page)
	@$(if $(filter 0 no false,$(SERVE)),:,$(PY) hatch_build.py) \
	  || echo "[demo] the page could not be built; its HTTP interface works without it" >&2
	@$(VENV)/bin/semascope demo --workspace "$(WORKSPACE)" --port $(PORT) \
	  $(if $(filter 0 no false,$(SERVE)),--no-serve,--serve) $(ARGS)

test: $(TOOLS)  ## all tests, on $(JOBS) processes; ARGS='-k name' for a few
	@$(VENV)/bin/semascope model fetch >/dev/null \
	  || echo "[test] SmolLM2 could not be fetched: tests of the embedded model will skip"
	@echo "[test] pytest on $(JOBS) processes, one thread each"
	@OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false \
	  $(PY) -m pytest -q -n $(JOBS) --dist loadgroup $(ARGS)

check: $(TOOLS)  ## formatting, lint and strict types; changes nothing
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
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis
