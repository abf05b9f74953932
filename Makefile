# `make demo` and `make test` work on a fresh machine with Python 3.11 or newer and nothing else.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
# The constraint also holds for the build backend that pip fetches into its own environment.
export PIP_CONSTRAINT := $(CURDIR)/constraints.txt
export PIP_DISABLE_PIP_VERSION_CHECK := 1
PIP := $(BIN)/python -m pip --quiet

.PHONY: demo test lint docs listen package release train-resume clean

.venv/.installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(PIP) install -e .
	touch $@

.venv/.installed-dev: .venv/.installed
	$(PIP) install -e '.[dev]'
	$(PIP) install -e '.[ray]' || echo "no Ray for this Python: tests of --ray will be skipped"
	$(PIP) install --no-deps Resemblyzer distillmos xls-r-sqa
	$(PIP) install pesq pyworld || echo "no C compiler: tests of PESQ and MCD will be skipped"
	touch $@

demo: .venv/.installed
	PATH="$(CURDIR)/$(BIN):$$PATH" sh examples/demo.sh

test: .venv/.installed-dev
	$(MAKE) --no-print-directory lint
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist worksteal

lint:
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# What is made from the help of the commands.
docs: .venv/.installed-dev
	$(BIN)/python -m bigcodec_cli.reference > docs/cli.md
	$(BIN)/python scripts/man_pages.py docs/man

# What there is to hear. Wants opus-tools, codec2 and, for PESQ, a C compiler.
listen: .venv/.installed-dev
	PATH="$(CURDIR)/$(BIN):$$PATH" sh scripts/listen_page.sh

# Builds dist/ and checks it as an index would. No isolation: .venv has the build backend already.
package: .venv/.installed-dev
	rm -rf dist
	$(BIN)/python -m build --no-isolation
	$(BIN)/twine check --strict dist/*
	$(BIN)/check-wheel-contents dist/*.whl

# PYTHONS: those to try the wheel with, in empty environments; each fetches all dependencies.
PYTHONS ?= $(PYTHON)
release: test package
	sh scripts/try_install.sh dist/*.whl $(PYTHONS)
	sh scripts/release.sh

# Trains the next default model on one core at low priority: on from where it stood, or else from
# START, by default the model that ships, with its discriminators.
START ?= $(if $(wildcard runs/start),runs/start,lite-5)
CORE ?= 1
train-resume: .venv/.installed
	PATH="$(CURDIR)/$(BIN):$$PATH" OMP_NUM_THREADS=1 RUN=runs/next STAGES=continue INIT=$(START) \
	    nice -n 19 $(if $(shell command -v taskset),taskset -c $(CORE)) sh scripts/train_default.sh

clean:
	rm -rf .venv build dist demo-output
