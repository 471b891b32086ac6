.DEFAULT_GOAL := help
PYTHON ?= python3
BIN := .venv/bin

help: ## list the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1|\2/' | column -t -s '|'

.venv/installed: requirements.lock pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet -r requirements.lock
	$(BIN)/pip install --quiet --no-deps -e .
	touch $@

install: .venv/installed ## create .venv with the pinned dependencies

train: install ## train the quick start; ARGS="seed=1 trainer.max_steps=1000" adds overrides
	$(BIN)/python train.py experiment=quickstart $(ARGS)

PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n logical --maxprocesses 8 --dist worksteal --durations=15

test: install ## run the fast tests on all cores, 8 to 16 minutes on two; ARGS="-k losses" picks some
	$(PYTEST) -m "not slow and not server and not slurm" $(ARGS)

test-all: install ## run all tests: with commands, studies, and a W&B server and Slurm where there are some
	$(PYTEST) $(ARGS)

lint: install ## check style and format with ruff
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

lock: install ## pin the newest versions that pyproject.toml allows in requirements.lock
	$(BIN)/pip install --quiet uv
	$(BIN)/uv pip compile --upgrade --universal --python-version 3.11 --extra dev --no-header --no-annotate pyproject.toml -o requirements.lock

.PHONY: help install train test test-all lint lock
