#!/bin/bash
# The service under a real systemd: start, reload, watchdog, stop, upgrade, removal, sandbox. The node is simulated
# under /srv/node; its own systemd, journal and package are real.
source "$(dirname "$0")/lib.sh"

node=/srv/node

# A node with one saturated guest, and the service told to look there. Only the root differs from what is shipped:
# configuration and state are the node's own.
simulate_node() {
  mkdir -p "$root$node/var/lib/pve-sim" "$root$node/etc" "$root/etc/vm-autoscale" "$root/var/lib/vm-autoscale"
  ln -s /etc/vm-autoscale "$root$node/etc/vm-autoscale"
  ln -s /var/lib/vm-autoscale "$root$node/var/lib/vm-autoscale"
  cp "$PVE_SIM" "$root/usr/local/bin/pve-sim"
  cat >"$root$node/var/lib/pve-sim/scenario.yaml" <<'YAML'
node: {cpus: 16}
vms:
  101:
    config: |
      name: web
      tags: autoscale
      cores: 8
      vcpus: 1
      sockets: 1
      numa: 1
      hotplug: disk,network,usb,memory,cpu
      memory: 4096
      balloon: 1024
      ostype: l26
    load: {cpu: 8.0}
YAML
  drop_in simulated <<UNIT
[Unit]
ConditionPathExists=
[Service]
ExecStart=
ExecStart=/usr/bin/vm-autoscale --root $node run
UNIT
}

# Adds standard input to the unit, under a name.
drop_in() {
  mkdir -p "$root/etc/systemd/system/vm-autoscale.service.d"
  cat >"$root/etc/systemd/system/vm-autoscale.service.d/$1.conf"
}

start_node() {
  inside systemd-run -q --unit=pve-sim /usr/local/bin/pve-sim node --root "$node"
  eventually "the simulated node is up" test -S "/proc/$systemd_pid/root$node/run/qemu-server/101.qmp"
}

# A running service on a simulated node.
run_service() {
  simulate_node
  [ $# = 0 ] || drop_in "$@"
  boot_systemd
  start_node
  inside apt-get install -qy /packages/new.deb
  inside systemctl is-active vm-autoscale
}

property() { inside systemctl show -P "$1" vm-autoscale; }
# By the unit and not by `-u`, which also has what systemd says of it.
journal() { inside journalctl -q --no-pager -o cat _SYSTEMD_UNIT=vm-autoscale.service "$@"; }
journal_says() { journal | grep -qE -- "$1"; }
watches() { [ "$(property StatusText)" = "watching 1 VMs" ]; }
is_in_state() { [ "$(property ActiveState)" = "$1" ]; }
has_restarted() { [ "$(property NRestarts)" = 1 ] && is_in_state active; }
conf() { cat "$root$node/etc/pve/local/qemu-server/101.conf"; }

# A fault of the simulated node's commands.
fault() { echo "- {$1}" >"$root$node/var/lib/pve-sim/faults.yaml"; }

it_stays_down_without_proxmox_and_the_status_says_what_is_missing() {
  boot_systemd
  inside apt-get install -qy /packages/new.deb
  same "$(property ActiveState) $(property ConditionResult)" "inactive no"
  { inside systemctl status vm-autoscale || true; } | says 'ConditionPathExists=/usr/sbin/qm'
  same "$(inside systemctl is-enabled vm-autoscale)" enabled
}

it_starts_and_says_who_it_is_what_it_manages_and_what_to_run_next() {
  run_service
  same "$(property Type)" notify
  eventually "it watches" watches
  journal | head -n 3 >"$work/first"
  says 'vm-autoscale [0-9.]+ ' <"$work/first"
  says 'pve1' <"$work/first"
  says '1 (VM|guest)' <"$work/first"
  says 'vm-autoscale status' <"$work/first"
  inside vm-autoscale --root "$node" status | says 'web'
}

it_scales_and_the_journal_finds_the_change_by_its_guest() {
  run_service
  eventually "the guest has 8 vCPUs" journal_says 'VM 101 \(web\).*→ 8 vCPUs.*applied'
  conf | says '^vcpus: 8$'
  inside journalctl -q --no-pager -o json -u vm-autoscale VMID=101 RESOURCE=CPU >"$work/entries"
  says '"VM_NAME":"web"' <"$work/entries"
  says '"TO":"8"' <"$work/entries"
  says '"OUTCOME":"applied"' <"$work/entries"
  inside journalctl -q --no-pager -u vm-autoscale VMID=999 | does_not_say .
}

it_is_restarted_by_the_watchdog_when_it_hangs() {
  run_service watchdog <<<$'[Service]\nWatchdogSec=2\nTimeoutAbortSec=1\nRestartSec=0'
  pid=$(property MainPID)
  inside kill -STOP "$pid"
  eventually "it runs again" has_restarted
  [ "$(property MainPID)" != "$pid" ]
  inside journalctl -q --no-pager -o cat -u vm-autoscale | says 'Watchdog timeout'
}

it_is_fed_often_enough_for_its_watchdog() {
  run_service watchdog <<<$'[Service]\nWatchdogSec=3'
  pid=$(property MainPID)
  sleep 8
  same "$(property MainPID) $(property NRestarts)" "$pid 0"
}

it_comes_back_after_a_crash_and_knows_what_it_did() {
  run_service crash <<<$'[Service]\nRestartSec=0'
  eventually "the guest has 8 vCPUs" journal_says '→ 8 vCPUs.*applied'
  inside kill -KILL "$(property MainPID)"
  eventually "it runs again" has_restarted
  eventually "it watches again" watches
  conf | says '^vcpus: 8$'
}

it_reloads_a_right_file_and_refuses_a_faulty_one_while_it_goes_on() {
  run_service
  pid=$(property MainPID)
  echo 'check_intervall: 7s' >>"$root/etc/vm-autoscale/config.yaml"
  inside systemctl reload vm-autoscale && { echo "the faulty file was taken"; return 1; }
  journal | says 'did you mean "check_interval"'
  same "$(property MainPID) $(property ActiveState)" "$pid active"
  sed -i 's/intervall/interval/' "$root/etc/vm-autoscale/config.yaml"
  inside systemctl reload vm-autoscale
  eventually "the new file is in force" journal_says 'config.yaml'
  same "$(property MainPID)" "$pid"
}

it_is_not_started_again_and_again_on_a_configuration_that_cannot_be_used() {
  run_service
  echo 'nonsense: 1' >>"$root/etc/vm-autoscale/config.yaml"
  inside systemctl restart vm-autoscale && { echo "it started"; return 1; }
  eventually "it has failed" is_in_state failed
  same "$(property ExecMainStatus) $(property NRestarts)" "78 0"
}

it_stops_within_its_limit_and_ends_the_change_in_hand() {
  simulate_node
  fault 'command: qm, args: set 101, times: 1, at: locked, do: delay, seconds: 4'
  boot_systemd
  start_node
  inside apt-get install -qy /packages/new.deb
  eventually "a change is in hand" grep -q . "$root$node/var/lib/pve-sim/faults.log"
  inside systemctl stop vm-autoscale
  same "$(property Result) $(property ExecMainStatus)" "success 0"
  journal | says 'applied in [4-9]'
  journal | tail -n 1 | says 'stopped: SIGTERM'
}

it_restarts_on_upgrade_with_the_edited_configuration_and_its_state() {
  simulate_node
  boot_systemd
  start_node
  inside apt-get install -qy /packages/old.deb
  eventually "the guest has 8 vCPUs" journal_says '→ 8 vCPUs.*applied'
  pid=$(property MainPID)
  state=$(ls "$root/var/lib/vm-autoscale")
  echo 'check_interval: 2s' >>"$root/etc/vm-autoscale/config.yaml"
  inside apt-get install -qy /packages/new.deb
  same "$(property ActiveState)" active
  [ "$(property MainPID)" != "$pid" ]
  same "$(ls "$root/var/lib/vm-autoscale")" "$state"
  says 'check_interval: 2s' <"$root/etc/vm-autoscale/config.yaml"
  conf | says '^vcpus: 8$'
}

it_stays_disabled_or_masked_over_an_upgrade() {
  boot_systemd
  inside apt-get install -qy /packages/old.deb
  inside systemctl disable -q vm-autoscale
  inside apt-get install -qy /packages/new.deb
  same "$(inside systemctl is-enabled vm-autoscale || true)" disabled
}

it_is_stopped_when_removed_and_started_when_installed_again() {
  run_service
  inside apt-get remove -qy vm-autoscale
  is_in_state inactive
  inside apt-get install -qy /packages/new.deb
  is_in_state active
  inside apt-get purge -qy vm-autoscale
  gone var/lib/vm-autoscale
  gone etc/vm-autoscale
  inside test ! -e /run/vm-autoscale
}

it_has_a_unit_that_systemd_understands_in_full() {
  boot_systemd
  inside apt-get install -qy /packages/new.deb
  inside systemd-analyze verify --man=no vm-autoscale.service 2>&1 | does_not_say 'vm-autoscale'
}

it_has_the_exposure_that_the_documentation_tells() {
  boot_systemd
  inside apt-get install -qy /packages/new.deb
  inside systemd-analyze security --no-pager vm-autoscale.service >"$work/exposure"
  found=$(sed -n 's/.*exposure level for vm-autoscale.service: \([0-9.]*\) .*/\1/p' "$work/exposure")
  grep -qF "| $SUITE | $found |" "$here/../../docs/sandbox.md" || { echo "found $found"; cat "$work/exposure"; return 1; }
}

# What `qm set` writes (each path by its source), and what nothing that we start has a reason to write.
it_lets_qm_write_what_it_must_and_nothing_else() {
  pretend_qm_writes
  boot_systemd
  inside mkdir -p /etc/pve /run/qemu-server /run/lock/qemu-server /var/log/pve/tasks
  inside mount -t tmpfs pve /etc/pve
  probe && says '^all done$' <"$work/probe"
  does_not_say 'cannot|could' <"$work/probe"
}

# pmxcfs is restarted at each upgrade of pve-cluster. A unit that holds a mount of its own over /etc/pve keeps the
# dead one: "Transport endpoint is not connected" until the unit is started again.
it_sees_a_cluster_file_system_that_is_mounted_later_or_again() {
  boot_systemd
  inside mkdir -p /etc/pve
  inside mount -t tmpfs first /etc/pve
  unit_with_sandbox "while sleep 0.1; do cat /etc/pve/which >/srv/seen; touch /etc/pve/written; done" simple
  inside systemctl start sandbox-probe
  sees() { inside sh -c "echo $1 >/etc/pve/which; sleep 0.3; grep -qx $1 /srv/seen && test -e /etc/pve/written"; }
  eventually "the first mount is seen and written" sees first
  inside umount -l /etc/pve
  inside mount -t tmpfs second /etc/pve
  eventually "the second mount is seen and written" sees second
  inside umount /etc/pve
}

# The unit's own sandbox around a shell script.
unit_with_sandbox() {
  mkdir -p "$root/etc/systemd/system"
  printf '#!/bin/sh\n%s\n' "$1" >"$root/usr/local/bin/sandbox-probe"
  chmod 755 "$root/usr/local/bin/sandbox-probe"
  sed -e "s/^Type=.*/Type=$2/" -e 's|^ExecStart=.*|ExecStart=/usr/local/bin/sandbox-probe|' \
    -e '/^ConditionPathExists=/d; /^Restart/d; /^WatchdogSec=/d; /^ExecReload=/d' \
    "$here/../../debian/vm-autoscale.service" >"$root/etc/systemd/system/sandbox-probe.service"
  inside systemctl daemon-reload
}

pretend_qm_writes() {
  cat >"$work/writes" <<'SH'
may() { "$@" || echo "cannot: $*"; }
may_not() { "$@" 2>/dev/null && echo "could: $*"; }
writes() { mkdir -p "$(dirname "$1")" && touch "$1" && rm "$1"; }
may writes /etc/pve/nodes/pve1/qemu-server/101.conf.tmp
may writes /run/qemu-server/101.pid
may writes /run/lock/qemu-server/lock-101.conf
may writes /run/lock/pve-manager/pve-storage
may writes /var/lock/qemu-server/lock-102.conf
may writes /var/log/pve/tasks/active
may chown www-data:www-data /var/log/pve/tasks
may writes /dev/shm/qb-1
may writes /var/lib/vm-autoscale/memory.json
may writes /run/vm-autoscale/state.json
may test -r /proc/1/stat -a -r /proc/stat -a -r /proc/meminfo
may test -r /proc/pressure/cpu
may ls /proc/1/task >/dev/null
may test -r /sys/fs/cgroup/cgroup.controllers
may sh -c 'echo 0 >/proc/sys/vm/nr_hugepages'
may_not writes /usr/bin/evil
may_not writes /boot/evil
may_not writes /etc/systemd/system/evil.service
may_not writes /etc/ssh/evil
may_not writes /etc/vm-autoscale/config.yaml.new
may_not writes /root/evil
may_not unshare --user true
may_not date -s '2020-01-01'
echo "all done"
SH
}

probe() {
  inside mkdir -p /etc/ssh /etc/vm-autoscale
  unit_with_sandbox "$(cat "$work/writes")" oneshot
  inside systemctl start sandbox-probe || true
  inside journalctl -q --no-pager -o cat _SYSTEMD_UNIT=sandbox-probe.service >"$work/probe"
  cat "$work/probe"
}

tell_stories
