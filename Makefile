# `make install`, `demo`, `test` and `docs` set up their own environment in .venv; nothing else is needed but Python 3.11+ with venv.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
# Two cores by default: one worker process per core, one thread per worker.
WORKERS ?= 2

.PHONY: install demo test test-slow test-machines test-extras test-lowest package lint format bench docs clean

$(VENV)/.base: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt "torch==$$(sed -n 's/^torch==//p' constraints.txt)"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	touch $@

$(VENV)/.dev: $(VENV)/.base
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	touch $@

$(VENV)/.docs: $(VENV)/.base
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[docs]"
	touch $@

install: $(VENV)/.base

demo: $(VENV)/.base
	$(BIN)/sciml-cf study burgers-fno --samples 512 --epochs 40 --out demo --overwrite

test: $(VENV)/.dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n $(WORKERS) -m "not slow"

test-slow: $(VENV)/.dev $(VENV)/.docs
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n $(WORKERS) -m slow

# The fast tests as other machines would run them, one factor at a time (kernels, threads, load, an odd path), about
# half an hour in all: `make test-machines ARGS="--only haswell"`; logs in build/machines. Factors that passed for this
# tree are left out unless ARGS=--all.
test-machines: $(VENV)/.dev
	$(BIN)/python -m tests.machines $(ARGS)

# The tests that need further packages or Chromium, in environments of their own in build/extras, made where missing:
# `make test-extras ARGS="--only vision"` prints for each whether it passed, or why it could not be had.
test-extras: $(VENV)/.dev
	$(BIN)/python -m tests.extras $(ARGS)

# Some tests with the lowest versions that pyproject.toml allows, in an environment of its own: minutes, after the download
# of an old torch with its CUDA libraries. Warnings are no errors there, as old libraries warn of what newer ones changed.
LOWEST := build/lowest
test-lowest:
	test -x $(LOWEST)/bin/python || $(PYTHON) -m venv $(LOWEST)
	$(LOWEST)/bin/python -m pip install --quiet --disable-pip-version-check uv
	$(LOWEST)/bin/uv venv --quiet --allow-existing --python $(LOWEST)/bin/python $(LOWEST)/env
	$(LOWEST)/bin/uv pip install --quiet --python $(LOWEST)/env/bin/python --resolution lowest-direct -e ".[test]"
	OMP_NUM_THREADS=1 $(LOWEST)/env/bin/python -m pytest -q -W default --disable-warnings -p no:cacheprovider \
		tests/sciml_cf/test_cli_shared.py tests/sciml_cf/test_completion.py tests/sciml_cf/test_data_commands.py \
		tests/sciml_cf/test_head_solve.py tests/data_gen/test_plot.py

# The source distribution and the wheel in dist, and whether a package index would take them.
package:
	test -x build/package/bin/python || $(PYTHON) -m venv build/package
	build/package/bin/python -m pip install --quiet --disable-pip-version-check build twine
	rm -rf dist
	build/package/bin/python -m build --quiet .
	build/package/bin/python -m twine check --strict dist/*

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Warnings are errors. The pages are in build/docs/html and need no network.
docs: $(VENV)/.docs
	OMP_NUM_THREADS=1 $(BIN)/python -m docsite build/docs

bench: $(VENV)/.dev
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.burgers_optimisers
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.data_generation
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.navier_stokes
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.head
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.data_workers
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.adaptation

clean:
	rm -rf $(VENV) .pytest_cache .ruff_cache demo build/docs build/machines build/extras build/lowest build/package dist
