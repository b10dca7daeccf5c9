PYTHON ?= python3
BIN := .venv/bin
ARGS ?=

.PHONY: run lab test test-all check bench notebook clean

# Relative paths start where the command was typed. With -C, make changes the folder, and says so in its flags.
run: export PHOTOTRANSFER_CWD = $(if $(findstring w,$(firstword -$(MAKEFLAGS))),$(PWD),$(CURDIR))
run: .venv/run.done
	@$(BIN)/python -m phototransfer.run $(ARGS)

lab: .venv/run.done
	$(BIN)/jupyter lab notebooks/transfer_learning.ipynb

test: check
	$(BIN)/python -m pytest -n 2 --dist loadfile --max-worker-restart 0 -m "not slow"

# All tests, including those marked slow
test-all: check
	$(BIN)/python -m pytest -n 2 --dist loadfile --max-worker-restart 0

check: .venv/test.done
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Compare with the classic recipe on this machine: models/benchmark.md
bench: .venv/test.done
	$(BIN)/python benchmarks/benchmark.py $(ARGS)

# Write the outputs of one run with the default settings into the committed notebook
notebook: .venv/run.done
	$(BIN)/python -m phototransfer.run --commit

.venv/run.done: requirements.txt pyproject.toml
	$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v < (3, 14) else "Python 3.11, 3.12 or 3.13 is needed (TensorFlow has no other wheels); this is %d.%d. Try: make PYTHON=python3.12" % v)'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e .
	touch $@

.venv/test.done: requirements-test.txt .venv/run.done
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-test.txt
	touch $@

clean:
	rm -rf .venv
