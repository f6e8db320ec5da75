# make run: the demo study. make setup: environment and profile links. make test, make lint.
PYTHON ?= python3
BIN := .venv/bin
DEMO := $(BIN)/snakemake --profile profiles/demo
SOURCES := shared/phasewise tests
SNAKEFILES := Snakefile workflow/rules
# torch in two processes must not start two threads each on two cores.
export OMP_NUM_THREADS ?= 1

.PHONY: run setup test lint format clean

run: setup  ## Run the demo to its end; run it again to resume after a kill.
	@$(DEMO) --unlock >/dev/null 2>&1 || true
	@$(DEMO)
	@echo "report: analysis/demo/report.html"

setup: .venv/installed  ## Make .venv and link the profiles to the root.
	@for profile in profiles/*/; do name=$$(basename $$profile); ln -sfn profiles/$$name $$name; done

.venv/installed: requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
	@touch $@

test: setup  ## Unit, conformance and workflow tests; no network.
	$(BIN)/pytest -n 2 --dist loadfile

lint: setup  ## ruff, mypy, snakefmt: what CI runs.
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/mypy
	$(BIN)/snakefmt --check $(SNAKEFILES)

format: setup  ## Rewrite the code as lint wants it.
	$(BIN)/ruff check --fix $(SOURCES)
	$(BIN)/ruff format $(SOURCES)
	$(BIN)/snakefmt $(SNAKEFILES)

clean:  ## Remove what the demo wrote.
	rm -rf experiments/demo analysis/demo logs
