#!/usr/bin/env bash
# Installs what building, testing and the demo need and this machine lacks: Open vSwitch, tshark, tcpdump and friends.
#
#   scripts/setup.sh                  install what is missing
#   scripts/setup.sh --containers     also what the container and systemd tiers of the tests need: Podman, where no engine
#                                     runs, systemd-nspawn, mmdebstrap
#   scripts/setup.sh --check          only say what is missing (exit 1 if anything is)
#
# It installs Debian/Ubuntu packages by name, as root or through sudo, and never lets a package start a service:
# a test machine must not suddenly run an Open vSwitch of its own. When nothing is missing it does nothing.
set -euo pipefail

# One line per need: the command (or file) that proves it, and the package that brings it.
needs() {
  cat <<'LIST'
ovs-vswitchd openvswitch-switch
ovsdb-server openvswitch-switch
ovs-ofctl openvswitch-common
ip iproute2
tc iproute2
setcap libcap2-bin
nsenter util-linux
ping iputils-ping
tcpdump tcpdump
tshark tshark
iperf3 iperf3
rpm rpm
setpriv util-linux
systemd-analyze systemd
ethtool ethtool
iptables iptables
gcc gcc
qemu-system-x86_64 qemu-system-x86
busybox busybox-static
cpio cpio
depmod kmod
LIST
}

# The container tier takes an engine that runs; else it starts a Podman of its own, in namespaces of its own.
container_needs() {
  cat <<'LIST'
systemd-nspawn systemd-container
mmdebstrap mmdebstrap
LIST
  if docker info >/dev/null 2>&1; then
    docker compose version >/dev/null 2>&1 || echo docker-compose docker-compose
    return
  fi
  cat <<'LIST'
podman podman
podman-compose podman-compose
runc runc
/usr/lib/podman/netavark netavark
/usr/lib/podman/aardvark-dns aardvark-dns
iptables iptables
LIST
}

check= containers=
for argument in "$@"; do
  case $argument in
    --check) check=yes ;;
    --containers) containers=yes ;;
    *) echo "setup: \"$argument\": want --check or --containers" >&2; exit 2 ;;
  esac
done

# Daemons live in /usr/sbin, which a plain user's PATH may lack.
PATH=$PATH:/usr/sbin:/sbin

missing=()
while read -r proof package; do
  command -v "$proof" >/dev/null 2>&1 || missing+=("$package")
done < <(needs; [ -z "$containers" ] || container_needs)
# Debian's own interpreter: another python3 in PATH does not see Debian's packages.
/usr/bin/python3 -c 'import scapy' >/dev/null 2>&1 || missing+=(python3-scapy)
# The race detector needs cgo, and cgo a C library to build against.
[ -e /usr/include/stdlib.h ] || missing+=(libc6-dev)

if [ ${#missing[@]} -eq 0 ]; then
  exit 0
fi
mapfile -t missing < <(printf '%s\n' "${missing[@]}" | sort -u)

if [ -n "$check" ]; then
  echo "setup: missing packages: ${missing[*]}"
  exit 1
fi
if ! command -v apt-get >/dev/null 2>&1; then
  echo "setup: this machine has no apt-get; install these by your own means: ${missing[*]}" >&2
  exit 1
fi

sudo=
if [ "$(id -u)" -ne 0 ]; then
  command -v sudo >/dev/null 2>&1 || { echo "setup: root or sudo is needed to install: ${missing[*]}" >&2; exit 1; }
  sudo=sudo
fi

# policy-rc.d answering 101 ("forbidden") keeps every package from starting its service. Ours goes away again; one
# that was there stays as it was.
policy=/usr/sbin/policy-rc.d
made_policy=
if [ ! -e $policy ]; then
  made_policy=yes
  printf '#!/bin/sh\nexit 101\n' | $sudo tee $policy >/dev/null
  $sudo chmod 755 $policy
fi
cleanup() { [ -z "$made_policy" ] || $sudo rm -f $policy; }
trap cleanup EXIT

echo "setup: installing ${missing[*]} (no service is started)"
export DEBIAN_FRONTEND=noninteractive
$sudo apt-get update -qq
$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
echo "setup: done"
