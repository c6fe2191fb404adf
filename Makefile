# Two commands to begin with: `make demo` and `make test`. All of them: `make help`.
# PYTHON=/path/to/python3.11 says which Python to make the environments with.
# RUNS says where `make demo` puts its run directory.
RUNS ?= runs
export PYTHON

.DEFAULT_GOAL := help
.PHONY: help setup demo test export-env locks clean

help: ## Say what each target does
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' Makefile

setup: ## Make the environment in .venv, with Java 17 where the system has none
	@requirements/setup

demo: setup ## Find objects in the sample images: a table, a run directory, a verdict
	@.venv/bin/cluster run --mode local --input models/images --output "$(RUNS)/demo-$$(date +%Y%m%d-%H%M%S)"

test: ## Make the environments, lint, and run every test
	@tests/run

export-env: ## Make .venv-export too (PyTorch and ONNX, 6 GB), to export and train models
	@requirements/setup export

locks: ## Compile requirements/*.in into the locks (UPGRADE=1 takes the newest versions)
	@requirements/compile $(if $(UPGRADE),--upgrade)

clean: ## Remove the environments and caches, not runs/
	rm -rf .venv .venv-export .cache .mypy_cache .pytest_cache .ruff_cache .import_linter_cache *.egg-info
