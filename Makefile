# Everything sets itself up: `make test` in a fresh clone needs Python 3.11 or newer and the package registries.
# Peers of the tests, such as the Weave server, have pins for Python 3.11, so that one is taken where it exists.
# The slow tests of Streamlit need Chromium as well, or npm to fetch it.

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.NOTPARALLEL:

VENV := .venv
PYTHON := $(VENV)/bin/python
INSTALLED := $(VENV)/installed
DEMO := $(VENV)/installed-demo
BASE_PYTHON ?= $(firstword $(foreach name,python3.11 python3.12 python3.13 python3,$(call usable,$(name))))
usable = $(shell $(1) -c 'import ensurepip, sys, venv; print("$(1)" if sys.version_info >= (3, 11) else "")' 2>/dev/null)
ARGS ?=

export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_NO_INPUT := 1
export PIP_ROOT_USER_ACTION := ignore

.PHONY: demo
demo: $(DEMO)  ## a RAG service at work, and what arrives of it; ARGS=--once ends it and checks
	$(PYTHON) -m otel_wandb.cli demo $(ARGS)

.PHONY: help
help:  ## list the targets
	@awk -F ':.*## *' '/^[a-z%-]+:.*## /{printf "%-12s %s\n", $$1, $$2}' Makefile

.PHONY: test
test: lint peers  ## lint, types, and all tests but the slow ones; ARGS goes to pytest
	$(PYTHON) -m pytest -m "not slow" -n 4 $(ARGS)

.PHONY: test-slow
test-slow: $(INSTALLED)  ## the slow tests: the ClickHouse-backed peer, chaos
	$(PYTHON) -m tests.peers.environments weave weave-clickhouse apps apps-gradio5
	$(PYTHON) -m pytest -m slow $(ARGS)

.PHONY: lint
lint: $(INSTALLED)  ## ruff and mypy over the whole tree
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m mypy

.PHONY: format
format: $(INSTALLED)  ## put every file into the one format
	$(PYTHON) -m ruff check --fix .
	$(PYTHON) -m ruff format .

.PHONY: docs
docs: $(INSTALLED)  ## write docs/settings.md and docs/charts.md from the tables of settings and of charts
	for page in settings charts; do \
		$(PYTHON) -m otel_wandb.$${page}_page > docs/$$page.md.new; \
		mv docs/$$page.md.new docs/$$page.md; \
	done

.PHONY: recordings
recordings: $(INSTALLED)  ## record anew what the instrumentations send; ARGS names some of them
	$(PYTHON) -m tests.recordings.make $(ARGS)

.PHONY: peers
peers: $(INSTALLED)
	@$(PYTHON) -m tests.peers.environments weave

bench-%: $(INSTALLED)  ## run benchmarks/NAME.py, such as bench-journal
	$(PYTHON) -m benchmarks.$(subst -,_,$*) $(ARGS)

.PHONY: venv
venv: $(INSTALLED)  ## the virtual environment alone

$(INSTALLED): pyproject.toml
	@test -n "$(BASE_PYTHON)" || { echo "No Python 3.11 or newer with venv was found; set BASE_PYTHON." >&2; exit 1; }
	@$(PYTHON) -c '' 2>/dev/null || "$(BASE_PYTHON)" -m venv --clear $(VENV)
	$(PYTHON) -m pip install -qq --upgrade 'pip>=25.1'
	$(PYTHON) -m pip install -qq --editable '.[demo,serve]' --group dev
	@touch $(DEMO) $@

# Without what development needs: the first minutes are for the demo, not for waiting.
$(DEMO): pyproject.toml
	@test -n "$(BASE_PYTHON)" || { echo "No Python 3.11 or newer with venv was found; set BASE_PYTHON." >&2; exit 1; }
	@$(PYTHON) -c '' 2>/dev/null || "$(BASE_PYTHON)" -m venv --clear $(VENV)
	$(PYTHON) -m pip install -qq --editable '.[demo]'
	@touch $@

.PHONY: clean
clean:  ## remove what all of this made
	rm -rf $(VENV) .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
