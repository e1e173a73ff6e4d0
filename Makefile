# Two commands do everything on a fresh Debian 12 machine: `make demo` and `make test`.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UV := $(BIN)/uv pip install --quiet --python $(BIN)/python --compile-bytecode --constraint constraints.txt

.PHONY: help demo bench test lint env env-dev golden docs docs-serve gallery constraints clean
help:
	@echo "make demo    build the environment, run a small study, show tables and figures"
	@echo "make test    install what the tests need (a real Slurm included), lint and run all tests"
	@echo "make lint    ruff, mypy --strict, import contracts"
	@echo "python tests/run.py quick|slurm|train|lint    one stage of the tests, in the environment of make env-dev"
	@echo "make bench   run every benchmark that needs no GPU, under 15 minutes; JSON and tables below outputs/bench"
	@echo "make docs    build the documentation site into site/, warnings are errors; make docs-serve shows it while you write"
	@echo "make golden  renew the golden sbatch scripts and the generated parts of the docs after a wanted change; read the diff"

$(VENV)/.uv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; set PYTHON=..."; exit 2; }
	$(PYTHON) -m venv $(VENV) || { echo "no venv module: apt-get install python3-venv"; exit 2; }
	$(BIN)/pip install --quiet uv
	touch $@

$(VENV)/.demo: $(VENV)/.uv pyproject.toml constraints.txt
	@echo "installing torch, torchvision and deepspeed (5 GB, about a minute on a fast line) ..."
	$(UV) --editable '.[train,report]'
	touch $@

$(VENV)/.dev: $(VENV)/.demo
	$(UV) --editable '.[train,report,dev]'
	# Beside ours: what reads RO-Crates back in the tests wants an older rich.
	$(BIN)/uv venv --quiet --clear $(VENV)/validator
	$(BIN)/uv pip install --quiet --python $(VENV)/validator/bin/python roc-validator==0.13.0
	touch $@

env: $(VENV)/.demo
env-dev: $(VENV)/.dev

demo: $(VENV)/.demo
	$(BIN)/vit_sweep -m gpus=1,2 batch=16,32 scaling=strong,weak model.patch_size=8 epochs=5 optimizer.learning_rate=0.001 partition=local
	@echo "to go on: . $(BIN)/activate"

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test:
	tests/install.sh & $(MAKE) --no-print-directory env-dev && wait $$!
	$(BIN)/python tests/run.py

bench: $(VENV)/.dev
	$(BIN)/python benchmarks/run.py

golden: $(VENV)/.dev
	$(BIN)/python -m pytest -q tests/unit/launchers/test_golden.py tests/docs/test_generated.py --renew-golden

docs: $(VENV)/.dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build

gallery: $(VENV)/.dev
	$(BIN)/python docs/record.py

docs-serve: $(VENV)/.dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs serve

constraints: $(VENV)/.uv
	$(BIN)/uv pip compile -q pyproject.toml --all-extras --no-header --no-annotate --no-emit-index-url -o constraints.txt

clean:
	rm -rf $(VENV) outputs/*/
