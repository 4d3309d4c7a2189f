# Two commands: `make demo` and `make test`. The environment is made once, in .venv, from envs/lock.txt and
# envs/fairseq.txt.
# `make setup EXTRAS=slurm` adds what `snakemake --profile slurm` needs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CORES ?= $(shell env -u OMP_NUM_THREADS nproc)
export OMP_NUM_THREADS := 1
export OMP_WAIT_POLICY := PASSIVE
export PATH := $(CURDIR)/$(BIN):$(PATH)

.DEFAULT_GOAL := help
.PHONY: help setup demo demo-full test test-browser test-slurm bench check clean

help: ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

setup: $(VENV)/.installed $(EXTRAS:%=$(VENV)/.installed-%) ## make .venv with the pinned packages

$(VENV)/.installed: envs/lock.txt envs/fairseq.txt pyproject.toml
	@sh envs/check.sh $(PYTHON)
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "softlabels: installing the pinned packages into $(VENV) (some minutes the first time)"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c envs/lock.txt -e '.[workflow,fairseq]'
	@echo "softlabels: installing fairseq; the first time on a machine it is compiled, which takes some minutes more"
	env -u CUDA_HOME $(BIN)/python -m pip install --disable-pip-version-check --no-deps --no-build-isolation \
	  --require-hashes -r envs/fairseq.txt
	@touch $@

$(VENV)/.installed-test $(VENV)/.installed-slurm: $(VENV)/.installed-%: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c envs/lock.txt -e '.[workflow,$*]'
	@touch $@

demo: $(VENV)/.installed ## train, measure and draw everything on embedded data; ends with a report
	snakemake --cores $(CORES) --quiet rules --config scale=demo
	snakemake --cores 1 --quiet all --report results/demo/report.html --config scale=demo
	@echo "softlabels: what reproduces: results/demo/reproduction.html; how it was run: results/demo/report.html"

demo-full: $(VENV)/.installed ## the demo with every value on every axis, which takes longer; also in results/demo
	snakemake --cores $(CORES) --quiet rules --config scale=demo thin=false
	snakemake --cores 1 --quiet all --report results/demo/report.html --config scale=demo thin=false
	@echo "softlabels: what reproduces: results/demo/reproduction.html; how it was run: results/demo/report.html"

check: $(VENV)/.installed-test ## ruff, mypy, snakefmt and snakemake --lint, without the tests
	ruff check .
	ruff format --check .
	mypy
	snakefmt --check Snakefile rules
	snakemake --lint

test: check ## all checks and tests
	python -m pytest -n $(CORES)

test-browser: $(VENV)/.installed-test ## tests of the report in Chromium; needs it, or root and apt, else says so and skips
	@sh tests/workflow/chromium.sh && python -m pytest tests/workflow/test_report.py || test $$? -eq 77

test-slurm: ## tests on a real, private SLURM; needs root and SLURM or apt, else says so and skips
	@sh tests/slurm/packages.sh \
	  && make --no-print-directory $(VENV)/.installed-test $(VENV)/.installed-slurm \
	  && python -m pytest -n $(CORES) tests/slurm || test $$? -eq 77

bench: $(VENV)/.installed-test ## ratios of speed, written to benchmarks/results/
	python -m benchmarks

clean: ## remove the environment and caches of tools; results stay
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .snakemake
