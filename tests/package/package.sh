#!/bin/bash
# The package as a file: what lintian says, what it depends on, that it can be built again to the same bytes.
source "$(dirname "$0")/lib.sh"

unpacked() { dpkg-deb -x "$DEB" "$work/unpacked"; }

it_gives_lintian_nothing_to_say() {
  lintian --allow-root --pedantic "$DEB" >"$work/lintian"
  same "$(cat "$work/lintian")" ""
  # Each override answers one tag in one file.
  grep -v '^#' "$here/../../debian/lintian-overrides" | does_not_say '\*'
}

it_depends_on_what_its_binary_is_linked_with() {
  unpacked
  mkdir -p "$work/debian"
  touch "$work/debian/control"
  (cd "$work" && dpkg-shlibdeps -O "unpacked/usr/bin/vm-autoscale" 2>/dev/null) |
    sed 's/^shlibs:Depends=//; s/, /\n/g' | grep -v '^libgcc-s1 ' | sort >"$work/linked" # libc6 brings libgcc-s1
  dpkg-deb -f "$DEB" Depends | sed 's/, /\n/g' | grep -v '^procps$' | sort >"$work/declared"
  same "$(cat "$work/declared")" "$(cat "$work/linked")"
}

it_needs_no_newer_c_library_than_debian_12_has() {
  unpacked
  newest=$(objdump -T "$work/unpacked/usr/bin/vm-autoscale" | grep -o 'GLIBC_[0-9.]*' | sort -uV | tail -n 1)
  same "$(printf '%s\nGLIBC_2.36\n' "$newest" | sort -V | tail -n 1)" GLIBC_2.36
}

it_tells_no_path_of_the_machine_that_built_it() {
  unpacked
  strings "$work/unpacked/usr/bin/vm-autoscale" >"$work/strings"
  does_not_say "$(realpath "$here/../..")|/root/|/home/" <"$work/strings"
}

it_has_completions_that_the_shells_read() {
  unpacked
  bash -n "$work/unpacked/usr/share/bash-completion/completions/vm-autoscale"
  zsh -n "$work/unpacked/usr/share/zsh/vendor-completions/_vm-autoscale"
  fish -n "$work/unpacked/usr/share/fish/vendor_completions.d/vm-autoscale.fish"
  bash -c 'source "$1"; COMP_WORDS=(vm-autoscale che); COMP_CWORD=1; _vm-autoscale vm-autoscale che vm-autoscale
    echo "${COMPREPLY[@]}"' - "$work/unpacked/usr/share/bash-completion/completions/vm-autoscale" | says '^check-config$'
}

it_is_not_larger_than_an_admin_expects_of_a_small_daemon() {
  [ "$(stat -c %s "$DEB")" -lt $((4 * 1024 * 1024)) ] || { ls -l "$DEB"; return 1; }
}

# In another directory and with nothing built before. The slowest story of all.
it_is_the_same_to_the_byte_when_it_is_built_again_elsewhere() {
  [ -n "${BUILT_HERE:-}" ] || skip "a finished package is tested"
  mkdir "$work/elsewhere"
  git -C "$here/../.." ls-files -z | (cd "$here/../.." && tar -c --null -T -) | tar -x -C "$work/elsewhere"
  CARGO_TARGET_DIR="$work/other-target" "$work/elsewhere/debian/build-deb" "$work/again"
  cmp "$DEB" "$work/again/"*.deb
}

tell_stories
