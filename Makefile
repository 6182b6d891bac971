# Two commands do everything from a fresh checkout: `make demo` and `make test`.

PYTHON ?= python3
BIN := .venv/bin
# Datasets: one folder each. A copy beside the checkout is used when nothing else is said.
export HARNESS_DATA ?= $(patsubst %/,%,$(wildcard ../shared/data/))
# Byte code is compiled while installing; without it every process imports for seconds.
export UV_COMPILE_BYTECODE := 1
INSTALL = $(if $(shell command -v uv),uv pip install --quiet --python $(BIN)/python,$(BIN)/python -m pip install --quiet)

.PHONY: setup demo test check lint types docs format bench gpu clean

setup: .venv/ready

# uv where there is one (seconds), else pip (minutes). Runs need the extras mmseg and transformers for models of theirs alone.
.venv/ready: pyproject.toml
	@if command -v uv >/dev/null; then \
	  test -x $(BIN)/python || uv venv --quiet --python $(PYTHON) .venv; \
	  uv pip install --quiet --python $(BIN)/python -e '.[dev,mmseg,tensorboard,umap,transformers,scaffold]'; \
	else \
	  test -x $(BIN)/python || $(PYTHON) -m venv .venv; \
	  $(BIN)/python -m pip install --quiet --no-cache-dir -e '.[dev,mmseg,tensorboard,umap,transformers,scaffold]'; \
	fi
	@touch $@

demo: setup
	$(BIN)/python -m harness run tables/idrnet_table5.yaml
	$(BIN)/python -m harness run tables/idrnet_table2.yaml --profile smoke
	@echo
	@echo "the two reports:"
	@ls -1 $${HARNESS_RESULTS:-results}/reports/idrnet_table5.md $${HARNESS_RESULTS:-results}/reports/idrnet_table2.smoke.md

# three workers on two cores: tests on a real Slurm wait more than they compute, and come first (tests/conftest.py)
test: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder

# the inner loop: lint, types, and tests that are quick and need no Slurm
check: lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile -m 'not slow and not slurm'

lint: setup types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell

types: setup
	$(BIN)/mypy

# build/docs/index.html; any link that leads nowhere is an error
docs: setup
	@$(BIN)/python -c 'import material' 2>/dev/null || $(INSTALL) -e '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest benchmarks -s

# on a machine with a GPU: its tests, each part by itself, and throughput; benchmarks/results/gpu_*.csv
gpu:
	PYTHONPATH=. $(if $(wildcard $(BIN)/python),$(BIN)/python,$(PYTHON)) benchmarks/gpu.py

clean:
	rm -rf .venv build *.egg-info
