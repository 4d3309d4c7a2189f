#!/bin/bash
# Snakemake runs this (a copy of it) in the project's folder once the conda environment has been made and activated:
# it adds the package itself, from this folder and following it, so use one --conda-prefix per folder.
set -eu
test -x "$CONDA_PREFIX/bin/python" || { echo "no environment is active: $CONDA_PREFIX has no python" >&2; exit 1; }
"$CONDA_PREFIX/bin/python" -m pip install --no-deps --no-build-isolation --disable-pip-version-check --editable .
