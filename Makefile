# Egress. `make demo` is the first thing to run, `make test` the second; `make help` lists the rest.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
unexport PYTHONDONTWRITEBYTECODE   # inherited, it costs every process seconds of CPU
export PYTHONUNBUFFERED := 1

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
UV     := 0.13.9
PYTEST := $(BIN)/python -m pytest
# Two files at a time, since half of the time is waiting for servers; the longest first.
PAIR   := -n 2 --dist loadfile --no-loadscope-reorder
LONG   := tests/system/whole/test_kills.py
SUITES := $(LONG) $(filter-out $(LONG),$(wildcard tests/system/whole/test_*.py)) tests/system/dump \
          $(wildcard tests/system/test_*.py) tests/conformance tests/graph

help:  ## This list
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# The lock file decides what is installed. uv comes from PyPI; where it can't be had or fails, pip takes the same set
# from the hashed export.
$(STAMP): uv.lock requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(0 if (3, 11) <= sys.version_info[:2] < (3, 14) else "Egress needs Python 3.11 to 3.13, $(PYTHON) is " + sys.version.split()[0] + ": make PYTHON=python3.12 ...")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@{ $(BIN)/python -m pip install -q --disable-pip-version-check uv==$(UV) 2>/dev/null \
	   && UV_PROJECT_ENVIRONMENT=$(VENV) $(BIN)/uv sync -q --frozen --no-build --no-binary-package egress; } \
	 || { echo "uv could not install: falling back to pip (slower)"; \
	   $(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --require-hashes --only-binary=:all: -r requirements.txt \
	   && $(BIN)/python -m pip install -q --disable-pip-version-check --no-deps -e .; }
	@touch $@

install: $(STAMP)  ## Build .venv from uv.lock

demo: $(STAMP)  ## The whole chain on embedded servers: dump, scrub, mirror, delivery, verify
	@$(BIN)/egress demo

dev: $(STAMP)  ## The same sandbox with the Dagster UI on http://localhost:3000
	@$(BIN)/python -m egress_assets.sandbox.dev

# ------------------------------------------------------------------------------------------------------------- checks
# What tests need besides pip; installed when missing, never skipped.
APT_TEST := golang-go postgresql
APT_CEPH := ceph-mon ceph-osd radosgw
APT_BROWSER := chromium fonts-dejavu-core

apt-test:
	@tools/apt.sh $(APT_TEST)

apt-browser:
	@tools/apt.sh $(APT_BROWSER)

apt-ceph:
	@tools/apt.sh $(APT_CEPH)

tools/bin/s3mem: tools/s3mem/main.go tools/s3mem/go.mod | apt-test
	@mkdir -p tools/bin && cd tools/s3mem && GOFLAGS=-mod=mod GO111MODULE=on go build -o ../bin/s3mem .

unit: $(STAMP)  ## Unit tests alone (10 s)
	@$(PYTEST) -q tests/unit

test: $(STAMP) apt-test tools/bin/s3mem  ## Every test that needs only pip and small Debian packages
	@$(PYTEST) -q tests/unit --hypothesis-profile=thorough
	@$(PYTEST) -q -m "not ceph and not soak" $(PAIR) $(SUITES)

lint: $(STAMP)  ## ruff and pyright
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/basedpyright

ceph: $(STAMP) apt-ceph apt-test tools/bin/s3mem  ## The store and mirror suites against a real Ceph RGW
	@$(PYTEST) -q -m "ceph and not soak" $(PAIR) tests/conformance

test-browser: $(STAMP) apt-browser  ## The UI in a headless chromium; writes the screenshots of README and docs
	@$(PYTEST) -q tests/browser

ci: lint test ceph test-browser demo-check  ## What .ci/run calls

demo-check: $(STAMP)  ## The demo twice from nothing: everything, then nothing
	@tools/demo_check.sh

soak: $(STAMP) apt-test tools/bin/s3mem  ## Long kill, load and size runs
	@$(PYTEST) -q -m soak --timeout 7200

bench: $(STAMP) tools/bin/s3mem  ## Ratios against peers, side by side
	@for b in $(filter-out benchmarks/dump.py,$(wildcard benchmarks/*.py)); do echo "== $$b"; $(BIN)/python $$b; done

bench-dump: $(STAMP) apt-test tools/bin/s3mem  ## The dump beside psql, pg_dump, sling, dlt, DuckDB, ...: an hour
	@$(BIN)/python benchmarks/dump.py $(BENCH)

lock:  ## After editing pyproject.toml: uv.lock and the hashed export for pip
	@$(BIN)/uv lock -q && $(BIN)/uv export -q --frozen --all-groups --no-emit-project --no-annotate -o requirements.txt

golden:  ## After a wanted change of the asset graph
	@EGRESS_GOLDEN=write $(PYTEST) -q tests/graph/test_golden.py

schema:  ## After a wanted change of the catalog's models: docs/schema
	@EGRESS_SCHEMA=write $(PYTEST) -q tests/unit/test_catalog_schema.py

clean:  ## Stop the sandbox and remove what was built
	@test ! -x $(BIN)/egress || $(BIN)/egress sandbox stop || true
	@rm -rf .egress tools/bin build $(VENV)

.PHONY: help install demo dev apt-test apt-browser apt-ceph unit test test-browser lint ceph ci demo-check soak bench bench-dump lock golden schema clean
