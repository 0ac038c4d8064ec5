#!/usr/bin/env bash
# Prints the name of an archive with the root file system of a Debian or Ubuntu that has Open vSwitch and systemd:
# scripts/debian-root.sh [SUITE], by default the release of this machine. mmdebstrap makes it from this machine's package
# sources, in a minute and once: it is kept in $XDG_CACHE_HOME/ovs-erspan, which may be deleted.
set -euo pipefail

suite=${1:-$(. /etc/os-release && echo "${VERSION_CODENAME:?this release of Debian or Ubuntu has no name}")}
packages=systemd-sysv,openvswitch-switch,iproute2,iputils-ping,tcpdump,ethtool,kmod,rpm
cache=${XDG_CACHE_HOME:-${HOME:-/var/tmp}/.cache}/ovs-erspan
archive=$cache/root-$suite-$(echo "$suite $packages" | sha256sum | cut -c1-12).tar
if [ ! -e "$archive" ]; then
  command -v mmdebstrap >/dev/null 2>&1 || { echo "debian-root: there is no mmdebstrap to make one: apt-get install mmdebstrap" >&2; exit 1; }
  echo "debian-root: making one of $suite with mmdebstrap; this takes a minute" >&2
  mkdir -p "$cache"
  # Without root it would need more packages.
  root=()
  [ "$(id -u)" = 0 ] || ! command -v sudo >/dev/null 2>&1 || root=(sudo)
  "${root[@]}" mmdebstrap --quiet --variant=minbase --include=$packages \
    --dpkgopt=path-exclude='/usr/share/doc/*' --dpkgopt=path-exclude='/usr/share/man/*' \
    --dpkgopt=path-exclude='/usr/share/locale/*' "$suite" "$archive.part.tar" >&2
  mv "$archive.part.tar" "$archive"
fi
echo "$archive"
