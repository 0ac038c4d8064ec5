#!/usr/bin/env bash
# Prints the name of a directory with the programs of another Debian or Ubuntu release's Open vSwitch, to put in front of PATH:
# scripts/ovs-root.sh SUITE. They run with their own libraries, and nothing is installed: mmdebstrap unpacks the packages from
# this machine's package sources, in some seconds and once. They are kept in $XDG_CACHE_HOME/ovs-erspan, which may be deleted.
set -euo pipefail

suite=${1:?scripts/ovs-root.sh SUITE, such as trixie}
cache=${XDG_CACHE_HOME:-${HOME:-/var/tmp}/.cache}/ovs-erspan
root=$cache/ovs-$suite
if [ ! -e "$root/bin/ovs-vswitchd" ]; then
  command -v mmdebstrap >/dev/null 2>&1 || { echo "ovs-root: there is no mmdebstrap to unpack one: apt-get install mmdebstrap" >&2; exit 1; }
  echo "ovs-root: unpacking the Open vSwitch of $suite" >&2
  rm -rf "$root" "$root.part"
  mkdir -p "$cache"
  sudo=()
  [ "$(id -u)" = 0 ] || sudo=(sudo)
  "${sudo[@]}" mmdebstrap --quiet --variant=extract --include=openvswitch-switch "$suite" "$root.part" >&2
  "${sudo[@]}" mkdir "$root.part/bin"
  first() { (cd "$root.part" && find usr "$@" -print -quit); }
  loader=$(first -name 'ld-linux*.so.*' -path '*-linux-gnu*')
  libraries=$(dirname "$(first -name libc.so.6)")
  for name in ovs-vswitchd ovsdb-server ovsdb-client ovsdb-tool ovs-vsctl ovs-ofctl ovs-appctl ovs-dpctl; do
    # In Debian's package ovs-vswitchd is an alternative, which stands elsewhere.
    program=$(first -name "$name" -type f -perm /100 -not -path '*bash-completion*')
    [ -n "$program" ] || { echo "ovs-root: $suite has no $name" >&2; exit 1; }
    printf '#!/bin/sh\nexec "%s" --argv0 %s --library-path "%s" "%s" "$@"\n' "$root/$loader" "$name" "$root/$libraries" "$root/$program" |
      "${sudo[@]}" tee "$root.part/bin/$name" >/dev/null
    "${sudo[@]}" chmod 755 "$root.part/bin/$name"
  done
  "${sudo[@]}" mv "$root.part" "$root"
fi
echo "$root/bin"
