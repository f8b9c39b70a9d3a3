# For people: `make demo` shows the main job, `make test` is the check of this checkout, `make wheel` that of what is
# built from it: it is installed into a fresh environment of PYTHON and does the main job there.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
LOG := .venv/install.log

# The fixed part of the quick studies that `make test` takes, whole, beside all else that is not slow:
# test_the_quick_study_answers of tests/experiments/studies/test_corruptions.py, marked `always`. `make test-slow` takes
# all eleven.
FAST := not slow or always

# One process more than there are cores, as tests also wait for what they start; each computes by one thread, and
# threads that wait sleep.
WORKERS ?= $(shell $(PYTHON) -c 'import os; print(1 + (os.cpu_count() or 1))')
test test-slow: export OMP_WAIT_POLICY := PASSIVE
test test-slow: export OMP_NUM_THREADS := 1

.PHONY: demo test test-slow bench lint types layers docs site web build wheel clean

demo:
	@echo '1/5 packages in .venv'
	@$(MAKE) --silent --no-print-directory $(READY)
	@PATH="$(CURDIR)/$(BIN):$$PATH" bash examples/demo.sh

# Types are checked beside the tests.
test: lint layers
	@$(BIN)/mypy & types=$$!; \
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile -m '$(FAST)'; tests=$$?; \
	wait $$types && exit $$tests

# All quick studies and whatever else takes long: more than half an hour.
test-slow: $(READY)
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile -m slow

# Minutes, on a machine with nothing else to do; reports/speed/ keeps the figures.
bench: $(READY)
	OMP_WAIT_POLICY=PASSIVE $(BIN)/python benchmarks/speed.py

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)
	$(BIN)/mypy

layers: $(READY)
	$(BIN)/lint-imports

docs: $(READY)
	$(BIN)/python -m tests.reference > cli.md

# The documentation site, in site/. The notebooks are run for their figures, which takes minutes; `make site
# RUN_NOTEBOOKS=` does without. A test builds it, too.
RUN_NOTEBOOKS ?= 1
site: $(READY)
	RUN_NOTEBOOKS=$(RUN_NOTEBOOKS) NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

# What `anomalae demo` puts into a page, from the npm lock file; needs npm. What is built is kept in the repository.
web:
	cd web && npm ci --ignore-scripts --no-audit --no-fund && node build.mjs

build: $(READY)
	rm -rf dist
	PIP_CONSTRAINT=$(CURDIR)/constraints.txt $(BIN)/python -m build

wheel: build
	bash .ci/wheel $(PYTHON)

# Installed once, and again only when what is to be installed has changed. What pip says is shown when it fails.
$(READY): pyproject.toml constraints.txt
	@echo 'installing into .venv: some minutes and 5 GB; its log is $(LOG)'
	@$(PYTHON) -m venv .venv
	@$(BIN)/pip install --disable-pip-version-check --progress-bar off -c constraints.txt -e '.[dev,parquet]' \
		> $(LOG) 2>&1 || { cat $(LOG) >&2; exit 1; }
	@touch $@

clean:
	rm -rf .venv build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache demo site
