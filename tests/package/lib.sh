# Shared by the scripts in this directory: fresh Debian roots, a booted systemd in them, and stories to tell.
#
# A story is a function whose name begins with "it_" and reads as a sentence about the package. `tell_stories` runs each
# in a fresh root; a story fails when one of its commands does, and is skipped when it calls `skip`.
#
# Needs root, and what tests/package/run puts into place: $DEB, $OLD_DEB, $PVE_SIM, $ROOTS, $SUITE.
# shellcheck shell=bash

set -euo pipefail

here=$(dirname "$(realpath "${BASH_SOURCE[0]}")")
base=$ROOTS/$SUITE
# A root is a directory of changes over the base, gone with the mount namespace that this script runs in.
work=$(mktemp -d "${TMPDIR:-/tmp}/vm-autoscale-$SUITE.XXXXXX")
root=$work/root

fresh_root() {
  close_root
  mkdir -p "$work/changes" "$work/overlay" "$root"
  mount -t overlay overlay -o "lowerdir=$base,upperdir=$work/changes,workdir=$work/overlay" "$root"
  # There is no console, and nobody to watch progress.
  ln -s /dev/null "$root/etc/systemd/system/console-getty.service"
  printf 'quiet "2";\nDpkg::Use-Pty "0";\n' >"$root/etc/apt/apt.conf.d/99tests"
  mkdir -p "$root/packages"
  cp "$DEB" "$root/packages/new.deb"
  cp "$OLD_DEB" "$root/packages/old.deb"
}

close_root() {
  stop_systemd
  umount -R "$root" 2>/dev/null || true
  rm -rf "$work/changes" "$work/overlay"
}

# --- A root without systemd running in it, as an installer or a container build has it.

# Runs a command in the root, without a terminal to ask questions on.
in_root() {
  env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive \
    unshare --mount --pid --fork --mount-proc="$root/proc" chroot "$root" "$@" </dev/null
}

# --- A root with a real systemd as process 1, in namespaces of its own.

systemd_pid=

boot_systemd() {
  setsid unshare --mount --pid --fork --uts --ipc --cgroup --kill-child=KILL bash -c '
    root=$1
    mount --make-rprivate /
    mount --bind "$root" "$root"
    mount -t proc proc "$root/proc"
    mount -t sysfs sysfs "$root/sys"
    umount -R "$root/sys/fs/cgroup" 2>/dev/null || true
    mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
    for directory in run tmp dev; do mount -t tmpfs tmpfs "$root/$directory"; done
    mkdir -p "$root/dev/pts" "$root/dev/shm"
    mount -t devpts -o newinstance,ptmxmode=0666 devpts "$root/dev/pts"
    ln -s pts/ptmx "$root/dev/ptmx"
    for device in null zero full random urandom tty; do
      touch "$root/dev/$device"
      mount --bind "/dev/$device" "$root/dev/$device"
    done
    touch "$root/dev/console"
    exec env -i container=other PATH=/usr/sbin:/usr/bin:/sbin:/bin chroot "$root" /lib/systemd/systemd
  ' boot "$root" </dev/null >"$work/boot.log" 2>&1 &
  boot=$!
  eventually "systemd is up" is_up
  # Mount units and propagation tests need what a real system has: shared mounts.
  nsenter -t "$systemd_pid" -m -r -w mount --make-rshared /
}

is_up() {
  systemd_pid=$(ps -o pid= --ppid "$boot" | tr -d ' ')
  # It exits with 1 where a unit failed that cannot work in namespaces.
  [ -n "$systemd_pid" ] && [[ $(inside systemctl is-system-running 2>/dev/null || true) =~ running|degraded ]]
}

stop_systemd() {
  if [ -n "$systemd_pid" ]; then
    kill -KILL "$systemd_pid" 2>/dev/null || true
    wait "$boot" 2>/dev/null || true
    systemd_pid=
  fi
}

# Runs a command in the booted root, without a terminal.
inside() {
  env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive \
    nsenter -t "$systemd_pid" -m -p -u -i -C -r -w "$@" </dev/null
}

# --- Checks. Each says what it found when it fails.

# Waits until a command succeeds.
eventually() {
  local what=$1
  shift
  for _ in $(seq 900); do
    if "$@"; then return 0; fi
    sleep 0.1
  done
  echo "did not happen within 90 s: $what"
  return 1
}

# The text on standard input contains the pattern.
says() {
  local text
  text=$(cat)
  grep -qE -- "$1" <<<"$text" || { printf 'expected /%s/ in:\n%s\n' "$1" "$text"; return 1; }
}

# It does not.
does_not_say() {
  local text
  text=$(cat)
  ! grep -E -- "$1" <<<"$text" || { printf 'did not expect /%s/\n' "$1"; return 1; }
}

# Two texts are the same.
same() {
  [ "$1" = "$2" ] || { printf 'expected:\n%s\nfound:\n%s\n' "$2" "$1"; return 1; }
}

# The path is not there (any more).
gone() {
  [ ! -e "$root/$1" ] && [ ! -L "$root/$1" ] || { echo "$1 is still there"; return 1; }
}

# --- Stories.

# Ends a story that cannot be told here, with the reason.
skip() {
  echo "$1"
  exit 77
}

tell_stories() {
  local passed=0 failed=0 story code
  trap 'close_root; rm -rf "$work"' EXIT
  for story in $(sed -n 's/^\(it_[a-z0-9_]*\)() {$/\1/p' "$0"); do
    fresh_root
    # Not within a condition: there, bash would go on after a command that failed.
    set +e
    (set -e; trap stop_systemd EXIT; "$story") >"$work/story.log" 2>&1
    code=$?
    set -e
    if [ $code = 0 ]; then
      passed=$((passed + 1))
      echo "ok    $SUITE: ${story//_/ }"
    elif [ $code = 77 ]; then
      echo "skip  $SUITE: ${story//_/ }: $(tail -n 1 "$work/story.log")"
    else
      failed=$((failed + 1))
      echo "FAIL  $SUITE: ${story//_/ }"
      sed 's/^/      /' "$work/story.log"
    fi
  done
  echo "$passed $failed" >>"$RESULTS"
}
