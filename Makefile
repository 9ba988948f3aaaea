# The front door. A machine needs Python 3.11 or newer with pip, a C linker and cargo; the rest is installed into $(VENV).
#
#   make demo    build, run examples/audit_packages.py, show the head of its report
#   make test    build and run the tests            ARGS="-k cycle" goes to pytest, ARGS=--cov measures coverage
#   make check   everything CI does before the tests: formatting, lint, layers, types, stub, Rust lint, docs and tests
#   make bench   the benchmarks, with their baselines beside them
#   make clean   remove what was built, the environment too
#
# Also: build (environment and release build), fmt (rewrite formatting), hooks (git hooks, all offline).
# PYTHON=python3.13 chooses the interpreter of a new environment, VENV=.venv-3.13 keeps it beside the usual one.

PYTHON ?= python3
VENV   ?= .venv
ARGS   ?=

BIN    := $(abspath $(VENV))/bin
PY     := $(BIN)/python
PIP    := $(PY) -m pip
TYPED  := python/orch $(foreach folder,tests examples benches,$(if $(wildcard $(folder)/*.py),$(folder)))
CRATE  := Cargo.toml Cargo.lock $(shell find orch_core -name target -prune -o -type f -print 2>/dev/null)
NATIVE := $(wildcard python/orch/_core.*.so)

# Two makes in one checkout take turns where flock exists; within one make, cargo and pytest use the cores themselves.
LOCK   := $(if $(shell command -v flock 2>/dev/null),flock .make.lock)
.NOTPARALLEL:

# Another virtual or conda environment may be active, and a PYTHONPATH set for it: neither is to be seen here.
unexport PYTHONHOME PYTHONPATH CONDA_PREFIX
export VIRTUAL_ENV := $(abspath $(VENV))
export PYO3_PYTHON := $(PY)
export PIP_QUIET := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test check bench clean build fmt hooks FORCE
.PHONY: check-format check-lint check-layers check-types check-stub check-rust check-rustdoc check-rust-tests

help:
	@sed -n 's/^#   //p' Makefile

# -- verbs ---------------------------------------------------------------------------------------------------------------

demo: build
	$(PY) -m orch run examples/audit_packages.py:workflow --progress
	@echo && head -n 40 audit-report.md

test: build $(VENV)/.group-test
	$(PY) -m pytest $(ARGS)

check: check-format check-lint check-layers check-types check-stub check-rust check-rustdoc check-rust-tests

bench: build $(VENV)/.group-test $(VENV)/.group-bench
	cargo bench --locked
	$(PY) -m pytest benches --benchmark-only $(ARGS)

clean:
	rm -rf $(VENV) target dist build .make.lock python/orch/_core.*.so
	rm -rf audit-report.* .coverage htmlcov .benchmarks .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find python tests examples benches -name __pycache__ -prune -exec rm -rf {} + 2>/dev/null || true

fmt: $(VENV)/.group-lint
	$(BIN)/ruff format
	$(BIN)/ruff check --fix
	cargo fmt --all

hooks: $(VENV)/.group-lint
	$(BIN)/prek install --hook-type pre-commit --hook-type pre-push

# -- the steps of `check`, cheapest first; each says its name and the seconds it took --------------------------------------

step = @printf '== %s\n' '$(1)'; start=$$(date +%s); $(2) && printf '   %s s\n' "$$(($$(date +%s) - start))"

check-format: $(VENV)/.group-lint
	$(call step,format,$(BIN)/ruff format --check && cargo fmt --all --check)

check-lint: $(VENV)/.group-lint
	$(call step,lint,$(BIN)/ruff check && $(BIN)/prek run --all-files --hook-stage manual)

check-layers: build $(VENV)/.group-test
	$(call step,layers,$(BIN)/lint-imports --no-cache --no-logo)

check-types: build $(VENV)/.group-lint $(VENV)/.group-test $(VENV)/.group-bench
	$(call step,mypy,$(PY) -m mypy $(TYPED))
	$(call step,pyright,$(PY) -m pyright --pythonpath $(PY))

check-stub: build $(VENV)/.group-lint
	$(call step,stubtest,$(PY) -m mypy.stubtest orch._core)

check-rust: $(VENV)/.made
	$(call step,clippy,cargo clippy --locked --all-targets --quiet -- -D warnings)
	$(call step,clippy with the binding,cargo clippy --locked --all-targets --features python --quiet -- -D warnings)

check-rustdoc: $(VENV)/.made
	$(call step,cargo doc,RUSTDOCFLAGS='-D warnings' cargo doc --locked --no-deps --features python --quiet)

check-rust-tests:
	$(call step,cargo test,$(if $(shell command -v cargo-nextest 2>/dev/null),\
	    cargo nextest run --locked && cargo test --locked --doc --quiet,cargo test --locked --quiet))

# -- what the verbs stand on: stamps in $(VENV), so that a second call has nothing to do -----------------------------------

build: $(VENV)/.built

# Rebuilt when the crate or the project's metadata changed, when the module is gone, and when another build (a debug one,
# say) has put a newer module in the tree than this stamp knows.
$(VENV)/.built: $(CRATE) pyproject.toml $(NATIVE) $(if $(NATIVE),,FORCE) | $(VENV)/.group-build
	$(LOCK) $(PY) -m maturin develop --release --quiet
	@touch $@

$(VENV)/.group-%: pyproject.toml | $(VENV)/.made
	$(LOCK) $(PIP) install --group $*
	@touch $@

# An environment you made yourself is taken as it is. A Debian python3 may come without ensurepip: then pip puts itself in.
$(VENV)/.made:
	@$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 11) else \
	    f"orch needs Python 3.11 or newer, $(PYTHON) is {sys.version.split()[0]}: try make PYTHON=python3.13 ...")'
	$(LOCK) sh -c '{ $(PY) -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv $(VENV) \
	    || { $(PYTHON) -m venv --without-pip $(VENV) && $(PYTHON) -m pip --python $(PY) install pip; }; } \
	    && $(PIP) install --upgrade "pip>=25.1" && touch $@'
