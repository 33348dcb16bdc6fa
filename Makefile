# Every target sets up what it needs in .venv; `make` alone prints this help.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
NATIVE_SOURCES := $(shell find native -name '*.rs' -o -name Cargo.toml) Cargo.toml Cargo.lock rust-toolchain.toml
# The files that take longest come first, so that both workers end together.
LONGEST := $(addprefix tests/lab/test_,judge.py one_open_port.py partitions.py firewall_sync.py acceptance.py bootstrap.py)
SEED ?= 6 # of the networks of `make lab`
export PYTHONNOUSERSITE := 1
TOOLCHAIN := $(shell scripts/toolchain)
ifneq ($(TOOLCHAIN),)
export RUSTUP_TOOLCHAIN := $(TOOLCHAIN)
endif

.PHONY: help setup check test demo sim lab matrix interop bench fuzz format lint types unit clean lock

help: ## Print this help
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/  make \1\t\2/' | expand -t 18

setup: $(VENV)/.native ## Make .venv with every dependency and the Rust extension

$(VENV)/.system: scripts/system-packages
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "ginnel needs Python 3.11 or newer: name one with make PYTHON=python3.11"; exit 1; }
	@scripts/system-packages
	@test -d $(VENV) || $(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.python: $(VENV)/.system requirements.lock
	@echo "installing Python packages into $(VENV)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@touch $@

$(VENV)/.native: $(VENV)/.python $(NATIVE_SOURCES) pyproject.toml
	@cargo --version >/dev/null || { echo "ginnel needs a Rust toolchain (cargo): https://rustup.rs"; exit 1; }
	@echo "building the Rust extension: the first time this takes minutes"
	@[ ! -t 2 ] || VIRTUAL_ENV="$(CURDIR)/$(VENV)" $(BIN)/maturin develop --release --locked --skip-install  # shows progress
	@PATH="$(CURDIR)/$(BIN):$$PATH" MATURIN_PEP517_ARGS="--locked" $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

format: $(VENV)/.python ## Format both languages
	$(BIN)/ruff format --quiet .
	$(BIN)/ruff check --quiet --fix .
	cargo fmt

lint: $(VENV)/.python
	$(BIN)/ruff format --quiet --check .
	$(BIN)/ruff check --quiet .
	cargo fmt --check
	cargo clippy --quiet --release --locked --workspace --all-targets -- -D warnings

types: $(VENV)/.native
	$(BIN)/mypy
	$(BIN)/python -m mypy.stubtest ginnel._native --mypy-config-file pyproject.toml --allowlist native/stubtest-allow

unit: $(VENV)/.native
	$(BIN)/python -m pytest -n 2 tests --ignore=tests/lab --ignore=tests/interop

check: lint types unit ## Format, lint, types and unit tests of both languages, in under a minute once built

test: setup lint types ## All tests that CI runs
	cargo test --quiet --release --locked --workspace --exclude ginnel-py
	$(BIN)/python -m pytest -n 2 tests --ignore=tests/lab --ignore=tests/interop
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not official_daemon" $(LONGEST) tests/lab tests/interop

interop: setup ## The same steps against the real programs; builds the official daemon where Go is (root)
	scripts/official-daemon
	$(BIN)/python -m pytest tests/interop

bench: setup ## Measure beside tailscaled, derper and wireguard-go, which Go builds where it is there (root)
	$(BIN)/python -m bench._peers
	$(BIN)/python -m bench all

lab: setup ## All scenarios of the lab, then every seeded fault for the doctor and the page of its accuracy (root)
	$(BIN)/ginnel lab run flat easy-easy hard-hard udp-blocked one-open-port official-client
	$(BIN)/ginnel lab run relay-killed region-lost relay-drained relay-silent relay-stopped
	GINNEL_CUT_EVERY=1 $(BIN)/python -m pytest tests/shell/firewall/test_cut_off.py
	$(BIN)/ginnel lab diagnose --seed $(SEED) --table docs/doctor-accuracy.md

matrix: setup ## Every ordered pair of kinds of network, direct or relayed as docs/nat-traversal.md expects (root)
	$(BIN)/ginnel lab matrix

sim: setup ## 10,000 random meshes and 1,000 runs of `firewall sync` under a virtual clock, each step checked
	$(BIN)/python -m pytest -n 2 tests/sim
	SYNC_SEEDS=1000 $(BIN)/python -m pytest -n 2 tests/core/firewall/test_sync_random.py
	$(BIN)/python -m ginnel.testing --seeds 0-9999

fuzz: setup ## The codecs and cores against many random inputs, for some minutes
	HYPOTHESIS_PROFILE=fuzz $(BIN)/python -m pytest -n 2 tests/wire tests/core
	PROPTEST_CASES=20000 cargo test --quiet --release --locked --workspace --exclude ginnel-py

demo: setup ## A server and two machines behind NATs: watch the pair turn from relay to direct
	@$(BIN)/python -m ginnel.lab.demo

clean: ## Remove what was built
	rm -rf $(VENV) target src/ginnel/*.so

lock: $(VENV)/.python ## Write the lock files anew from pyproject.toml and Cargo.toml
	cargo update
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-annotate --no-header --group dev --output-file requirements.lock pyproject.toml
