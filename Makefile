PYTHON ?= python3
BIN := .venv/bin
ARGS ?=
NOTEBOOK := notebooks/transfer_learning.ipynb
# What is imported is compiled then; compiling all that is installed takes a quarter of a gigabyte and half a minute.
# make run UV=uv: with uv, which must be installed, in place of pip
UV ?=
INSTALL := $(if $(UV),$(UV) pip install --python .venv --quiet,$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile)

.PHONY: run classify app lab gpu test test-all check lint format types spell outputs locked lock lock-check hooks bench notebook clean

# Relative paths start where the command was typed. With -C, make changes the folder, and says so in its flags.
run classify app: export PHOTOTRANSFER_CWD = $(if $(findstring w,$(firstword -$(MAKEFLAGS))),$(PWD),$(CURDIR))

# make run PRESET=quick, make run ARGS="-p DATASET pets"
run: .venv/run.done
	@$(BIN)/python -m phototransfer.run $(if $(PRESET),--preset "$(PRESET)") $(ARGS)

# make classify PHOTO=holiday/ [RUN=my-run] [ARGS="--csv answers.csv"]: with a saved model, the newest by default.
# The names reach the command through the environment, so that spaces and quotes in them mean nothing to the shell.
classify: export PHOTO := $(PHOTO)
classify: export RUN := $(RUN)
classify: .venv/run.done
	@$(BIN)/python -m phototransfer.classify "$$PHOTO" $(if $(RUN),--run "$$RUN") $(ARGS)

# A page on this machine to try a saved model on photos
app: export RUN := $(RUN)
app: .venv/app.done
	@$(BIN)/python -m phototransfer.app $(if $(RUN),--run "$$RUN") $(ARGS)

# Opened in the project's folder, so that data/ and models/ can be reached. What a session shows is not committed: at its
# end, git is told that the notebook is as before, if nothing but outputs changed.
lab: .venv/run.done
	@git config --local filter.notebook-outputs.clean 'if test -x $(BIN)/python; then $(BIN)/python -m phototransfer.notebook_filter; else cat; fi' 2>/dev/null || true
	@trap : INT; \
	$(BIN)/jupyter lab --ServerApp.root_dir="$(CURDIR)" --LabApp.default_url=/lab/tree/$(NOTEBOOK); \
	if git diff --quiet -- $(NOTEBOOK) 2>/dev/null; then git add $(NOTEBOOK); fi

# TensorFlow with CUDA, some gigabytes, for an NVIDIA GPU on Linux
gpu: .venv/run.done
	$(BIN)/python -m pip uninstall --quiet --yes tensorflow-cpu
	$(INSTALL) -r requirements-gpu.txt
	touch .venv/gpu.done

test: check
	$(BIN)/python -m pytest -n 2 --dist loadfile --max-worker-restart 0 -m "not slow"

# All tests, including those marked slow
test-all: check
	$(BIN)/python -m pytest -n 2 --dist loadfile --max-worker-restart 0

# The same commands are the hooks of .pre-commit-config.yaml
check: lint format types spell

lint: .venv/test.done
	$(BIN)/ruff check .

format: .venv/test.done
	$(BIN)/ruff format --check .

types: .venv/test.done
	$(BIN)/mypy

spell: .venv/test.done
	$(BIN)/codespell

# The notebook has the outputs of one clean run
outputs: .venv/test.done
	$(BIN)/python -m pytest -q tests/command/test_notebook.py

# Run these checks before each commit
hooks: .venv/test.done
	$(BIN)/pre-commit install

# Everything that the tests need, in the versions and with the hashes of the lock
locked: .venv/bin/python
	$(INSTALL) --require-hashes -r requirements-test.lock
	$(INSTALL) --no-deps -e .
	touch .venv/run.done .venv/app.done .venv/test.done

# Write the locks anew from requirements*.txt: versions stay unless they have to change. The newest: make lock ARGS=--upgrade
LOCK = $(BIN)/uv pip compile --quiet --no-header --universal --generate-hashes --python-version 3.11 $(ARGS) requirements.txt
lock: .venv/uv.done
	$(LOCK) -o requirements.lock
	$(LOCK) requirements-app.txt -c requirements.lock -o requirements-app.lock
	$(LOCK) requirements-export.txt -c requirements.lock -o requirements-export.lock
	$(LOCK) requirements-cluster.txt -c requirements.lock -o requirements-cluster.lock
	$(LOCK) requirements-large.txt -c requirements.lock -o requirements-large.lock
	$(LOCK) requirements-remote.txt -c requirements.lock -o requirements-remote.lock
	$(LOCK) requirements-app.txt requirements-export.txt requirements-test.txt \
		-c requirements-app.lock -c requirements-export.lock -o requirements-test.lock

lock-check: lock
	git diff --exit-code --stat -- '*.lock'

# Compare with the classic recipe on this machine: models/benchmark.md
bench: .venv/test.done
	$(BIN)/python benchmarks/benchmark.py $(ARGS)

# Write the outputs of one run with the default settings into the committed notebook
notebook: .venv/run.done
	$(BIN)/python -m phototransfer.run --commit

.venv/run.done: requirements.txt pyproject.toml
	$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v < (3, 14) else "Python 3.11, 3.12 or 3.13 is needed (TensorFlow has no other wheels); this is %d.%d. Try: make PYTHON=python3.12" % v)'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(INSTALL) -e .
	touch $@
	if test -e .venv/gpu.done; then $(MAKE) gpu; fi

.venv/app.done: requirements-app.txt .venv/run.done
	$(INSTALL) -r requirements-app.txt
	touch $@

.venv/test.done: requirements-test.txt requirements-app.txt requirements-export.txt .venv/run.done
	$(INSTALL) -r requirements-app.txt -r requirements-export.txt -r requirements-test.txt
	touch $@

.venv/uv.done: requirements-test.txt .venv/bin/python
	$(INSTALL) "$$(grep ^uv== requirements-test.txt)"
	touch $@

.venv/bin/python:
	$(PYTHON) -m venv .venv

clean:
	rm -rf .venv
