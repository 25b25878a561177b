#!/bin/bash
# Install, upgrade, remove, reinstall, purge: what is on the disk after each, in a root where no systemd runs.
source "$(dirname "$0")/lib.sh"

# The shipped configuration never changes. dpkg asks about a conffile that both sides changed; where nobody can
# answer (unattended-upgrades), the upgrade fails and leaves the package half-configured. New defaults go into the
# binary, new explanations into the example.
CONFFILE_SHA256=ca007041fc19a035806d5e115eec7894dfb2f66e3abfa8f04528f1fc92d34bfd

install_new() { in_root apt-get install -qy /packages/new.deb; }
install_old() { in_root apt-get install -qy /packages/old.deb; }

edit_conffile() { echo "check_interval: 7s" >>"$root/etc/vm-autoscale/config.yaml"; }

# A node's /etc/pve, as far as the maintainer scripts look at it.
pretend_proxmox() {
  mkdir -p "$root/usr/sbin" "$root/etc/pve/nodes/pve1/qemu-server" "$root/etc/pve/vm-autoscale/vms"
  printf '#!/bin/sh\n' >"$root/usr/sbin/qm"
  chmod 755 "$root/usr/sbin/qm"
  ln -sfn nodes/pve1 "$root/etc/pve/local"
}

# Guest $1 runs on this node and has been taken over.
take_over() {
  touch "$root/etc/pve/nodes/pve1/qemu-server/$1.conf"
  echo '{}' >"$root/etc/pve/vm-autoscale/vms/$1.json"
}

status_of_package() { in_root dpkg-query -W -f '${db:Status-Status}' vm-autoscale; }

it_puts_each_file_where_it_belongs_with_its_mode_and_owner() {
  install_new
  # shellcheck disable=SC2016
  in_root sh -c 'dpkg -L vm-autoscale | while read -r f; do [ -d "$f" ] || stat -c "%a %U:%G %n" "$f"; done' |
    sort -k3 >"$work/files"
  same "$(cat "$work/files")" "$(cat "$here/files.txt")"
  same "$(stat -c '%a %U:%G' "$root/etc/vm-autoscale")" "750 root:root"
}

it_ships_a_configuration_that_never_changes() {
  dpkg-deb --fsys-tarfile "$DEB" | tar -xO ./etc/vm-autoscale/config.yaml | sha256sum | says "^$CONFFILE_SHA256 "
}

it_ships_no_part_of_the_simulated_node() {
  dpkg-deb -c "$DEB" | does_not_say 'pve-sim'
}

it_installs_where_proxmox_is_not_and_says_what_is_missing() {
  install_new | says 'no Proxmox VE node \(there is no /usr/sbin/qm\): the service stays down'
  same "$(status_of_package)" installed
}

it_tells_how_to_begin_on_a_node_once() {
  pretend_proxmox
  install_old | says 'changes nothing until a guest opts in'
  install_new | does_not_say 'opts in'
}

it_runs_in_this_debian() {
  install_new
  in_root vm-autoscale --version | says "^vm-autoscale [0-9]"
  in_root vm-autoscale check-config --quiet
  in_root vm-autoscale completions bash | cmp - "$root/usr/share/bash-completion/completions/vm-autoscale"
}

it_says_why_it_cannot_run_without_proxmox() {
  install_new
  in_root vm-autoscale run --once >"$work/out" 2>&1 && { echo "it ran"; return 1; }
  says '/etc/pve' <"$work/out"
}

it_keeps_an_edited_configuration_over_an_upgrade_that_nobody_watches() {
  install_old
  edit_conffile
  chmod 600 "$root/etc/vm-autoscale/config.yaml"
  chmod 755 "$root/etc/vm-autoscale"
  install_new
  same "$(status_of_package)" installed
  says 'check_interval: 7s' <"$root/etc/vm-autoscale/config.yaml"
  same "$(stat -c %a "$root/etc/vm-autoscale/config.yaml" "$root/etc/vm-autoscale" | xargs)" "600 755"
}

it_keeps_configuration_and_history_when_it_is_removed_and_has_them_again_afterwards() {
  install_new
  edit_conffile
  mkdir -p "$root/var/lib/vm-autoscale"
  touch "$root/var/lib/vm-autoscale/memory.json"
  in_root apt-get remove -qy vm-autoscale
  gone usr/bin/vm-autoscale
  gone usr/share/vm-autoscale
  says 'check_interval: 7s' <"$root/etc/vm-autoscale/config.yaml"
  install_new
  says 'check_interval: 7s' <"$root/etc/vm-autoscale/config.yaml"
  [ -e "$root/var/lib/vm-autoscale/memory.json" ]
}

it_says_on_removal_which_guests_keep_what_it_gave_them() {
  pretend_proxmox
  install_new
  in_root apt-get remove -qy vm-autoscale | does_not_say 'keep the CPU'
  install_new
  take_over 101
  take_over 1000
  echo '{}' >"$root/etc/pve/vm-autoscale/vms/102.json" # runs on another node
  in_root apt-get remove -qy vm-autoscale >"$work/out"
  says 'gave them last: 101 1000$' <"$work/out"
  says 'vm-autoscale release VMID' <"$work/out"
  [ -e "$root/etc/pve/vm-autoscale/vms/101.json" ]
}

it_says_nothing_of_guests_when_it_is_upgraded() {
  pretend_proxmox
  take_over 101
  install_old
  install_new | does_not_say 'gave them last'
}

it_leaves_nothing_behind_when_it_is_purged() {
  install_new
  edit_conffile
  mkdir -p "$root/var/lib/vm-autoscale"
  echo secret >"$root/etc/vm-autoscale/gotify.token"
  in_root apt-get purge -qy vm-autoscale
  same "$(find "$root" -xdev -name '*vm-autoscale*' -not -path "$root/proc/*" -not -path "$root/var/lib/apt/*" \
    -not -path "$root/var/log/*" | sort)" ""
}

it_names_the_command_that_clears_the_cluster_on_the_last_node() {
  pretend_proxmox
  install_new
  take_over 101
  mkdir -p "$root/etc/pve/vm-autoscale/nodes"
  touch "$root/etc/pve/vm-autoscale/nodes/pve1.json"
  in_root apt-get purge -qy vm-autoscale | says 'To clear it: rm -r /etc/pve/vm-autoscale'
  gone etc/pve/vm-autoscale/nodes/pve1.json
  [ -e "$root/etc/pve/vm-autoscale/vms/101.json" ]
}

it_leaves_the_cluster_alone_while_other_nodes_have_it() {
  pretend_proxmox
  install_new
  mkdir -p "$root/etc/pve/vm-autoscale/nodes"
  touch "$root/etc/pve/vm-autoscale/nodes/pve1.json" "$root/etc/pve/vm-autoscale/nodes/pve2.json"
  in_root apt-get purge -qy vm-autoscale | does_not_say 'To clear it'
  [ -e "$root/etc/pve/vm-autoscale/nodes/pve2.json" ]
}

it_is_purged_where_the_cluster_refuses_writes() {
  pretend_proxmox
  install_new
  mkdir -p "$root/etc/pve/vm-autoscale/nodes/pve1.json" # rm -f fails on a directory
  in_root apt-get purge -qy vm-autoscale
  gone etc/vm-autoscale
}

it_has_maintainer_scripts_that_may_run_twice() {
  install_new
  for call in 'postinst configure' 'postinst configure 0.1.0-1' 'prerm upgrade 0.1.0-1' 'postinst abort-upgrade 0.1.0-1' \
    'prerm remove' 'postrm remove'; do
    for _ in 1 2; do
      # shellcheck disable=SC2086
      in_root env DPKG_MAINTSCRIPT_PACKAGE=vm-autoscale /var/lib/dpkg/info/vm-autoscale.$call
    done
  done
  in_root apt-get purge -qy vm-autoscale
}

it_has_manual_pages_that_format_without_complaint() {
  for page in man1/vm-autoscale.1 man5/vm-autoscale.yaml.5; do
    dpkg-deb --fsys-tarfile "$DEB" | tar -xO "./usr/share/man/$page.gz" | gunzip |
      MANWIDTH=80 man --warnings -l - 2>&1 >"$work/page" | does_not_say .
    says '^NAME' <"$work/page"
  done
}

tell_stories
