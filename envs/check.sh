#!/bin/sh
# What must be there before anything is installed; one clear line if it is not.
python="${1:-python3}"
packages="git make python3-venv"
missing=""
for tool in git make "$python"; do
    command -v "$tool" >/dev/null 2>&1 || missing="$missing $tool"
done
if [ -z "$missing" ]; then
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11, 4))' || missing=" Python>=3.11.4"
    "$python" -c 'import venv, ensurepip' 2>/dev/null || missing="$missing python3-venv"
    # Whether fairseq has no wheel for this Python: the condition in fairseq.txt, which can be read as Python too.
    compiled='import platform, re, sys
condition = re.search("^fairseq-fixed[^;]*;(.*?)--hash", open(sys.argv[1]).read(), re.M)[1].strip()
here = {"python_version": "%d.%d" % sys.version_info[:2], "sys_platform": sys.platform}
here |= {"platform_machine": platform.machine(), "platform_python_implementation": platform.python_implementation()}
sys.exit(not eval(condition, here))'
    if "$python" -c "$compiled" "$(dirname "$0")/fairseq.txt"; then
        packages="$packages g++ python3-dev"
        command -v g++ >/dev/null 2>&1 || missing="$missing g++"
        headers='import pathlib, sys, sysconfig; sys.exit(not pathlib.Path(sysconfig.get_path("include"), "Python.h").exists())'
        "$python" -c "$headers" || missing="$missing python3-dev"
    fi
fi
if [ -n "$missing" ]; then
    echo "softlabels needs:$missing (on Debian: apt install $packages)" >&2
    exit 1
fi
