#!/usr/bin/env bash
# Prints the name of a directory with the programs of another Debian or Ubuntu release's Open vSwitch, to put in front of PATH:
# scripts/ovs-root.sh SUITE [dpdk|ovn]; dpdk is the build for DPDK, with the driver that needs no hardware; with ovn, that
# release's OVN is there too. They run with their own libraries, and nothing is installed: mmdebstrap unpacks the packages from
# this machine's package sources, in some seconds and once. They are kept in $XDG_CACHE_HOME/ovs-erspan, which may be deleted.
set -euo pipefail

suite=${1:?scripts/ovs-root.sh SUITE [dpdk|ovn], such as trixie}
build=${2:-}
cache=${XDG_CACHE_HOME:-${HOME:-/var/tmp}/.cache}/ovs-erspan
root=$cache/ovs-root-$suite${build:+-$build}
sudo=()
[ "$(id -u)" = 0 ] || sudo=(sudo)

# unpack DIR SUITE PACKAGES [MIRROR…]: a mirror that has stood still for weeks, as a snapshot does, will do.
unpack() {
  "${sudo[@]}" mmdebstrap --quiet --variant=extract --aptopt='Acquire::Check-Valid-Until "false"' "${keyring[@]}" --include="$3" "$2" "$1" "${@:4}" >&2
}

if [ ! -e "$root/ovs-bin/ovs-vswitchd" ]; then
  command -v mmdebstrap >/dev/null 2>&1 || { echo "ovs-root: there is no mmdebstrap to unpack one: apt-get install mmdebstrap" >&2; exit 1; }
  echo "ovs-root: unpacking the Open vSwitch of $suite" >&2
  mkdir -p "$cache"
  part=$(mktemp -d "$root.XXXXXX") # two at once are not in each other's way
  trap '"${sudo[@]}" rm -rf "$part"' EXIT
  chmod 755 "$part"

  keyring=()
  mirror=()
  case $suite in
    focal | jammy | noble | plucky | questing | resolute)
      mirror=("deb http://archive.ubuntu.com/ubuntu $suite main" "deb http://archive.ubuntu.com/ubuntu $suite-updates main")
      keys=usr/share/keyrings/ubuntu-archive-keyring.gpg
      if [ ! -e "/$keys" ]; then # Debian packages Ubuntu's keys since its release 13
        unpack "$part/keys" trixie ubuntu-archive-keyring
        keyring=(--keyring="$part/keys/$keys")
      fi
      ;;
  esac
  packages=openvswitch-switch
  [ "$build" != ovn ] || packages+=,ovn-central,ovn-host
  [ "$build" != dpdk ] || packages='openvswitch-switch-dpdk,?name(^librte-net-af-packet),?name(^librte-mempool-ring)'
  unpack "$part/root" "$suite" "$packages" "${mirror[@]}"

  "${sudo[@]}" mkdir "$part/root/ovs-bin"
  first() { (cd "$part/root" && find . "$@" -print -quit | cut -c3-); }
  loader=$(first -name 'ld-linux*.so.*' -path '*-linux-gnu*')
  # In older releases not all are in one place.
  libraries=
  for library in libc.so.6 'libssl.so.*'; do
    directory=$(dirname "$(first -name "$library" -type f,l)")
    libraries+=${libraries:+:}$root/$directory
  done
  # Debian 11's Open vSwitch has its libraries elsewhere, for installing links one of two builds of them.
  for library in "$part/root"/usr/lib/openvswitch-common/lib*; do
    [ ! -e "$library" ] || "${sudo[@]}" ln -s "../openvswitch-common/${library##*/}" "$part/root/$directory/"
  done
  argv0=yes
  "$part/root/$loader" --help 2>&1 | grep -q argv0 || argv0='' # since glibc 2.33
  programs=(ovs-vswitchd ovsdb-server ovsdb-client ovsdb-tool ovs-vsctl ovs-ofctl ovs-appctl ovs-dpctl)
  [ "$build" != ovn ] || programs+=(ovn-northd ovn-nbctl ovn-sbctl ovn-controller ovn-appctl)
  for name in "${programs[@]}"; do
    # In Debian's package ovs-vswitchd is an alternative, which stands elsewhere.
    program=
    [ -z "$build" ] || program=$(first -name "$name-$build" -type f -perm /100)
    [ -n "$program" ] || program=$(first -name "$name" -type f -perm /100 -not -path '*bash-completion*')
    [ -n "$program" ] || { echo "ovs-root: $suite has no $name" >&2; exit 1; }
    # shellcheck disable=SC2059
    printf "#!/bin/sh\nexec \"%s\" ${argv0:+--argv0 $name} --library-path \"%s\" \"%s\" \"\$@\"\n" "$root/$loader" "$libraries" "$root/$program" |
      "${sudo[@]}" tee "$part/root/ovs-bin/$name" >/dev/null
    "${sudo[@]}" chmod 755 "$part/root/ovs-bin/$name"
  done
  "${sudo[@]}" mv -T "$part/root" "$root" || [ -e "$root/ovs-bin/ovs-vswitchd" ] # another was first
fi
echo "$root/ovs-bin"
