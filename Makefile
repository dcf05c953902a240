# `make demo` and `make test` do all their own set-up. pip's own settings (indexes, wheels, proxies) are honored, so whoever
# wants a build of torch for a certain accelerator points pip at it; a plain index gives the one for CUDA on Linux.
PYTHON ?= $(shell for python in python3.11 python3; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$python; break; }; done)
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: demo test test-slow check coverage bench fuzz faults clean

demo: $(STAMP)
	$(BIN)/ckpt-surgeon demo

test: $(STAMP)
	$(BIN)/pytest -n 2

test-slow: $(STAMP)
	$(BIN)/pytest -m "slow or root"

# Under strace, and as root on file systems of its own; what the machine lacks is skipped, and said.
faults: $(STAMP)
	$(BIN)/python tests/faults

check: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/pytest tests/house -k "not readme_runs"

# The readers and what publishes are covered to the last branch, all else to 95 %.
coverage: $(STAMP)
	$(BIN)/pytest -n 2 --cov --cov-report=
	$(BIN)/coverage report --skip-covered --include="*/formats/*,*/publishing/*,*/disk.py,*/posix.py" --fail-under=100
	$(BIN)/coverage report --skip-covered --fail-under=95

# Modest; `make bench BENCH="--gb 1 --rounds 15"` is what docs/performance.md shows.
bench: $(STAMP)
	$(BIN)/python -m benchmarks --gb 0.512 --rounds 5 $(BENCH)

# A million inputs of each parser; `make fuzz FUZZ="--inputs 10000 --only zip"` for fewer.
fuzz: $(STAMP)
	$(BIN)/python tests/fuzzing $(FUZZ)

clean:
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis

# torch comes first and alone: resolved among the rest, pip may take the largest build there is.
$(STAMP): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "make: no Python >= 3.11 found; name one with PYTHON=..." >&2; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(INSTALL) torch
	$(INSTALL) hatchling editables
	$(INSTALL) --no-build-isolation --editable '.[dev]'
	touch $@
