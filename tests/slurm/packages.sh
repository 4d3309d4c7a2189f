#!/bin/sh
# Installs SLURM's and munge's programs where they are missing. Exit 77: not possible here, and one line says why.
skip() {
    echo "softlabels: test-slurm SKIPPED: $1"
    exit 77
}
missing() {
    for program in slurmctld slurmd sbatch munged; do
        command -v "$program" >/dev/null || { echo "$program"; return; }
    done
}

[ "$(id -u)" = 0 ] || skip "a private SLURM has to be started by root"
[ -n "$(missing)" ] || exit 0
command -v apt-get >/dev/null || skip "there is no $(missing), and no apt-get to install it"

# The packages would start the system's own services; Debian asks this file first.
policy=/usr/sbin/policy-rc.d
log=$(mktemp)
if [ -e "$policy" ]; then
    trap 'rm -f "$log"' EXIT
    "$policy" slurmctld start >/dev/null 2>&1
    [ $? -eq 101 ] || skip "there is no $(missing), and $policy would let its package start a service"
else
    trap 'rm -f "$log" "$policy"' EXIT
    printf '#!/bin/sh\nexit 101\n' >"$policy" && chmod +x "$policy" || skip "cannot write $policy"
fi
trap 'exit 130' HUP INT TERM

echo "softlabels: installing slurmctld slurmd slurm-client munge with apt-get"
export DEBIAN_FRONTEND=noninteractive
{ apt-get update && apt-get install -y --no-install-recommends slurmctld slurmd slurm-client munge; } >"$log" 2>&1 </dev/null ||
    skip "apt-get could not install SLURM: $(grep -e '^W: Failed' -e '^E:' "$log" | head -n 1)"
[ -z "$(missing)" ] || skip "SLURM is installed, but $(missing) is not on the PATH"
