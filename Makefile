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

# Python compiles what is imported here and no more: a tenth of what is installed, all of which pip would compile.
FIRST_START := import logging; logging.disable(); import snakemake.cli, softlabels.figures.make, \
  softlabels.training.job; from softlabels.translation.compat import fairseq; fairseq()

.DEFAULT_GOAL := help
.PHONY: help setup demo demo-full test test-browser test-slurm nightly bench rulegraph check clean

help: ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

setup: $(VENV)/.installed $(EXTRAS:%=$(VENV)/.installed-%) ## make .venv with the pinned packages

$(VENV)/.installed: envs/lock.txt envs/fairseq.txt pyproject.toml
	@sh envs/check.sh $(PYTHON)
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "softlabels: installing the pinned packages into $(VENV) (a minute or more)"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile -c envs/lock.txt -e '.[workflow,fairseq]'
	@$(BIN)/python -m pip uninstall -qq --yes ve-fairseq fairseq-fixed  # an older set-up's; both have the same files
	env -u CUDA_HOME $(BIN)/python -m pip install --disable-pip-version-check --no-compile --no-deps \
	  --no-build-isolation --require-hashes -r envs/fairseq.txt
	@env -u PYTHONDONTWRITEBYTECODE $(BIN)/python -W ignore -c "$(FIRST_START)"
	@touch $@

$(VENV)/.installed-test $(VENV)/.installed-slurm: $(VENV)/.installed-%: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c envs/lock.txt -e '.[workflow,$*]'
	@touch $@

demo: $(VENV)/.installed ## a tour of all papers on embedded data, in minutes; ends with a report
	snakemake --cores $(CORES) --quiet rules --config scale=tour
	snakemake --cores 1 --quiet all --report results/tour/report.html --config scale=tour
	@echo "softlabels: what reproduces: results/tour/reproduction.html; how it was run: results/tour/report.html"

demo-full: $(VENV)/.installed ## train, measure and draw everything on embedded data; ends with a report
	snakemake --cores $(CORES) --quiet rules --config scale=demo
	snakemake --cores 1 --quiet all --report results/demo/report.html --config scale=demo
	@echo "softlabels: what reproduces: results/demo/reproduction.html; how it was run: results/demo/report.html"

check: $(VENV)/.installed-test ## ruff, mypy, import-linter, snakefmt and snakemake --lint, without the tests
	ruff check .
	ruff format --check .
	mypy
	lint-imports --no-cache
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

nightly: demo-full test-slurm bench ## what takes too long for every change: everything drawn, SLURM, benchmarks

bench: $(VENV)/.installed-test ## ratios of speed, written to benchmarks/results/
	python -m benchmarks

# One colour: Snakemake draws them by chance. tred leaves out arrows that follow from others.
rulegraph: $(VENV)/.installed ## draw docs/images/rulegraph.svg, the picture of the rules; needs graphviz, else says so
	@command -v tred >/dev/null && command -v dot >/dev/null \
	  || { echo "softlabels: make rulegraph needs graphviz (on Debian: apt install graphviz)" >&2; exit 1; }
	snakemake --quiet all --rulegraph dot --config scale=demo papers='["muller2019"]' > docs/images/rulegraph.dot
	sed -E 's/color = "[^"]*"/color = "#4477aa"/' docs/images/rulegraph.dot | tred | dot -Grankdir=LR -Granksep=0.25 \
	  -Gnodesep=0.12 -Nmargin=0.08,0.02 -Nfontsize=11 -Tsvg -o docs/images/rulegraph.svg
	@rm docs/images/rulegraph.dot

clean: ## remove the environment and caches of tools; results stay
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .snakemake
