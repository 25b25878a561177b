#!/bin/bash
# Start-up, resident memory and size beside two Rust daemons that Debian 13 ships, in one run: tests/package/run compare
#
# Not a test: it prints a table. sccache serves compilers from a cache, on tokio as this one; virtiofsd is the daemon by which
# PVE shares directories with guests. Needs the network, for their packages.
source "$(dirname "$0")/lib.sh"
trap 'close_root; rm -rf "$work"' EXIT

node=/node
guests=10

fresh_root
cp /etc/resolv.conf "$root/etc/resolv.conf"
in_root apt-get update -q >/dev/null
in_root apt-get install -qy --no-install-recommends sccache virtiofsd /packages/new.deb >"$work/install.log" 2>&1 ||
  { cat "$work/install.log"; exit 1; }
in_root sh -c 'cd /packages && apt-get download -q sccache virtiofsd' >/dev/null 2>&1

# A node with guests under load, for our own.
mkdir -p "$root$node/var/lib/pve-sim" "$root$node/etc/vm-autoscale"
cp "$root/etc/vm-autoscale/config.yaml" "$root$node/etc/vm-autoscale/"
cp "$PVE_SIM" "$root/usr/local/bin/pve-sim"
{
  echo 'node: {cpus: 64, memory_mib: 262144}'
  echo 'vms:'
  for vm in $(seq 101 $((100 + guests))); do
    printf '  %s:\n    config: |\n      tags: autoscale\n      cores: 4\n      vcpus: 2\n      numa: 1\n' "$vm"
    printf '      hotplug: disk,network,usb,memory,cpu\n      memory: 4096\n    load: {cpu: 1.2}\n'
  done
} >"$root$node/var/lib/pve-sim/scenario.yaml"
# Mean time of a start that only tells the version, in milliseconds.
start_up() {
  # shellcheck disable=SC2016
  in_root bash -c 'from=${EPOCHREALTIME/./}; for _ in {1..100}; do "$@" --version >/dev/null; done
    echo $(((${EPOCHREALTIME/./} - from) / 100))' start "$@" | awk '{printf "%.1f", $1 / 1000}'
}

# Resident memory of a daemon that has run for 15 s, in MiB: its own pages, and with what it maps of its file.
resident() {
  # shellcheck disable=SC2016
  in_root bash -c '
    [ ! -d /node ] || { /usr/local/bin/pve-sim node --root /node >/tmp/sim.log 2>&1 & sleep 5; }
    "$@" >/tmp/daemon.log 2>&1 &
    daemon=$!
    sleep 15
    awk "/^RssAnon/ {own = \$2} /^VmRSS/ {all = \$2} END {printf \"%.1f %.1f\", own / 1024, all / 1024}" \
      "/proc/$daemon/status" || { cat /tmp/sim.log /tmp/daemon.log >&2; exit 1; }
    kill %% 2>/dev/null' resident "$@"
}

size() { stat -c %s "$root"/packages/$1 | awk '{printf "%.1f", $1 / 1048576}'; }
binary() { stat -L -c %s "$root$1" | awk '{printf "%.1f", $1 / 1048576}'; }

row() {
  local name=$1 package=$2 program=$3
  shift 3
  read -r own all < <(resident "$@"; echo)
  printf '%-16s %12s %12s %12s %12s %12s\n' "$name" "$(size "$package")" "$(binary "$program")" \
    "$(start_up "$program")" "$own" "$all"
}

printf '%-16s %12s %12s %12s %12s %12s\n' '' 'package MiB' 'program MiB' 'start ms' 'own MiB' 'resident MiB'
row vm-autoscale new.deb /usr/bin/vm-autoscale vm-autoscale run --root $node
mv "$root$node" "$root/node.done"
row sccache 'sccache_*.deb' /usr/bin/sccache env SCCACHE_START_SERVER=1 SCCACHE_NO_DAEMON=1 sccache
row virtiofsd 'virtiofsd_*.deb' /usr/libexec/virtiofsd /usr/libexec/virtiofsd --sandbox none --shared-dir /srv \
  --socket-path /tmp/virtiofsd
echo "0 0" >>"$RESULTS"
