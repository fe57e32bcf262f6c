# The only commands that people and CI need. PYTHON may name another interpreter (3.11 or later).
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# The packages with exact versions and hashes, if there is a list for this Python and platform.
PLACE := $(shell $(PYTHON) -c 'import platform, sys; print(platform.system().lower(), platform.machine(), "py%d%d" % sys.version_info[:2], sep="-")')
LOCKED = $(wildcard requirements/$(1)-$(PLACE).txt)
DEV := [train,dev]
# Installs asr-edge with the extras $(2); from the list $(1) where there is one.
INSTALL = $(if $(LOCKED),\
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes --requirement $(LOCKED) && \
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .,\
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.$(2)')

.PHONY: help setup demo test test-slow lint docs clean

help:
	@echo "make setup   install asr-edge into $(VENV), with everything that training and the tests need"
	@echo "make demo    before and after one adaptation, in minutes"
	@echo "make test    run the tests (make test-slow: the long ones too)"
	@echo "make lint    ruff, mypy, import-linter"
	@echo "make docs    build the documentation as a web site in the folder site"

setup: .setup-dev

# What a device has: no torch.
.setup-device: pyproject.toml
	@$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11))" || { echo "Python 3.11 or later is needed" >&2; exit 1; }
	@test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV) || { echo "venv is missing: sudo apt install python3-venv" >&2; exit 1; }
	$(call INSTALL,device,)
	@touch $@

.setup-dev: .setup-device
	$(call INSTALL,dev,$(DEV))
	@touch $@

demo: .setup-dev
	@$(BIN)/python scripts/demo.py

# The tests start many processes: without .pyc files, each would compile all modules again.
test: export PYTHONDONTWRITEBYTECODE :=
# Two processes with as many threads of torch and numpy as cores would wait for each other.
test: export OMP_NUM_THREADS := 1
test: .setup-dev
	$(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder

test-slow: .setup-dev
	$(BIN)/pytest -m "slow or not slow"

lint: .setup-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: .setup-dev
	$(BIN)/mkdocs build --strict

clean:
	rm -rf $(VENV) site .setup-device .setup-dev
