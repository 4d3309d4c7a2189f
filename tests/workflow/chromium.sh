#!/bin/sh
# Installs Chromium and its driver where they are missing. Exit 77: not possible here, and one line says why.
skip() {
    echo "softlabels: test-browser SKIPPED: $1"
    exit 77
}
command -v chromium >/dev/null && command -v chromedriver >/dev/null && exit 0
[ "$(id -u)" = 0 ] || skip "there is no chromium with chromedriver, and only root can install them"
command -v apt-get >/dev/null || skip "there is no chromium with chromedriver, and no apt-get to install them"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
echo "softlabels: installing chromium chromium-driver with apt-get"
export DEBIAN_FRONTEND=noninteractive
{ apt-get update && apt-get install -y --no-install-recommends chromium chromium-driver; } >"$log" 2>&1 </dev/null ||
    skip "apt-get could not install Chromium: $(grep -e '^W: Failed' -e '^E:' "$log" | head -n 1)"
command -v chromedriver >/dev/null || skip "Chromium is installed, but chromedriver is not on the PATH"
