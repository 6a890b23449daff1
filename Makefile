# Everything a user or maintainer runs. `make help` lists it. Needs Python 3.11 or newer, nothing else.
PYTHON  ?= python3
VENV    ?= .venv
PKG     ?= avsr
ARGS    ?=
# Core first: pip takes the others' requirement of it from the folder only where it has met that before.
MEMBERS := core $(filter-out core,$(sort $(notdir $(patsubst %/pyproject.toml,%,$(wildcard packages/*/pyproject.toml)))))
BIN     := $(VENV)/bin
STAMP   := $(VENV)/.ready
# On Linux, PyPI's torch is the CUDA build and brings gigabytes: without a GPU take the CPU build. Whoever has told pip
# where to look has decided that already.
TORCH_INDEX ?= $(if $(shell command -v nvidia-smi || $(PYTHON) -m pip config list 2>/dev/null | grep -E 'index-url|find-links'),,https://download.pytorch.org/whl/cpu)
PIP     := $(BIN)/python -m pip --quiet --disable-pip-version-check
, := ,

.DEFAULT_GOAL := help
.PHONY: help setup demo test check format train eval bench wheels newest smoke release docs clean

help: ## this list
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo 'PKG=$(PKG) chooses the package (one of: $(MEMBERS)); ARGS="..." goes to its command.'

setup: $(STAMP) ## make the environment .venv with every package in it (once)

$(STAMP): constraints.txt $(wildcard packages/*/pyproject.toml)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "viseme needs Python 3.11 or newer, and $(PYTHON) is $$($(PYTHON) --version 2>&1)." \
	       "Try: make PYTHON=python3.11 $(MAKECMDGOALS)" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(PIP) install -c constraints.txt \
	  $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) \
	  $(foreach member,$(MEMBERS),-e packages/$(member)$(if $(filter core,$(member)),[text$(,)synthetic$(,)metrics$(,)export$(,)kernels$(,)cluster$(,)parquet])) \
	  pytest pytest-xdist pytest-timeout pytest-cov pytest-benchmark hypothesis ruff mypy import-linter hatchling matplotlib
	# Gradio asks for an older Pillow than the one whose pixels the published answers hold; it works with this one too.
	grep -v '^pillow==' constraints.txt > $(VENV)/demo-constraints.txt
	$(PIP) install -c $(VENV)/demo-constraints.txt -e 'packages/core[demo]'
	$(PIP) install --no-deps "$$(grep '^pillow==' constraints.txt)"
	@touch $@

demo: $(STAMP) ## corpus, prepare, train, evaluate: runs/demo/report.html (minutes); PKG=all: all packages
	$(BIN)/python -m tools.demo $(if $(filter all,$(PKG)),all) $(ARGS)

test: $(STAMP) ## set up, then run every test
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --dist worksteal -m 'not heavy' $(ARGS)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --dist worksteal -m heavy $(ARGS)

check: $(STAMP) ## style, types, and which room may import which
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy packages/core/src/viseme/core
	$(BIN)/lint-imports --no-cache

format: $(STAMP) ## bring the code into the house's format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

train: $(STAMP) ## train: make train PKG=avsr ARGS="recipe=... data.root_dir=..."
	$(BIN)/$(PKG) train $(ARGS)

eval: $(STAMP) ## evaluate: make eval PKG=avsr ARGS="..."
	$(BIN)/$(PKG) evaluate $(ARGS)

bench: $(STAMP) ## measure speed and memory, draw docs/benchmarks.md; FULL=1 adds the long rows
	$(BIN)/python -m tools.bench $(if $(FULL),--full) $(ARGS)
	$(if $(ARGS),,$(BIN)/python -m tools.bench.growth $(if $(FULL),--full))
	$(BIN)/python -m tools.bench.report

wheels: $(STAMP) ## build every package's wheel into dist/
	rm -rf dist
	$(PIP) wheel --no-deps --no-build-isolation -w dist $(MEMBERS:%=./packages/%)
	@ls -1 dist

newest: ## the light tests of core and avsr with the newest dependencies that the packages allow, in .newest
	$(PYTHON) -m venv .newest
	.newest/bin/python -m pip --quiet --disable-pip-version-check install $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) \
	  -e 'packages/core[text$(,)synthetic$(,)metrics$(,)export$(,)parquet]' $(foreach member,$(filter-out core,$(MEMBERS)),-e packages/$(member)) \
	  pytest pytest-timeout pytest-xdist hypothesis
	.newest/bin/python -m pip freeze --exclude-editable
	OMP_NUM_THREADS=1 .newest/bin/python -m pytest -q -n 2 --dist worksteal -m 'not heavy' packages/core/tests packages/avsr/tests

smoke: wheels ## install each wheel alone in a clean environment and run its smoke test
	$(BIN)/python -m tools.smoke_wheels

release: $(STAMP) ## build every wheel and sdist into dist/ and check them; publishing is a person's decision
	rm -rf dist
	$(PIP) install -c constraints.txt twine
	for member in $(MEMBERS); do (cd packages/$$member && $(abspath $(BIN))/python -m hatchling build -d $(CURDIR)/dist) || exit 1; done
	$(BIN)/python -m tools.release dist
	$(BIN)/python -m twine check --strict dist/*

docs: $(STAMP) ## build the documentation into site/
	$(PIP) install -c constraints.txt mkdocs-material 'mkdocstrings[python]'
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

clean: ## remove what was built (not runs/)
	rm -rf dist build site .smoke .newest .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
