#!/bin/sh
# What must be there before anything is installed; one clear line if it is not.
python="${1:-python3}"
missing=""
for tool in git make g++ "$python"; do
    command -v "$tool" >/dev/null 2>&1 || missing="$missing $tool"
done
if [ -z "$missing" ]; then
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11, 4))' || missing=" Python>=3.11.4"
    "$python" -c 'import venv, ensurepip' 2>/dev/null || missing="$missing python3-venv"
    headers='import pathlib, sys, sysconfig; sys.exit(not pathlib.Path(sysconfig.get_path("include"), "Python.h").exists())'
    "$python" -c "$headers" || missing="$missing python3-dev"  # fairseq is compiled
fi
if [ -n "$missing" ]; then
    echo "softlabels needs:$missing (on Debian: apt install git make g++ python3-dev python3-venv)" >&2
    exit 1
fi
