#!/bin/sh
# What a container of deploy/Containerfile runs.
#
#   sandbox host BRIDGE=PEER...   an Open vSwitch host in userspace: each BRIDGE takes over the network device that leads
#                                 to the machine PEER, with its addresses; then ovs-erspan's daemon. analyzer0 is a device
#                                 on no bridge, for destination sessions: what leaves it comes in at analyzer1
#   sandbox collector             ovs-erspan capture: prints each ERSPAN packet that arrives
#   sandbox plain                 a machine that does nothing by itself, such as a guest
#   sandbox idle                  the same in the network of another container
#   sandbox ready                 (in a running container) is it set up?
#
# Privileges: host needs the capabilities NET_ADMIN and NET_RAW and the device /dev/net/tun, collector NET_RAW, plain
# NET_ADMIN (to turn a checksum offload off), idle none. Everything is written under /run and /tmp.
#
# Sysctls of a host: in userspace, Open vSwitch and the kernel both see what arrives at a device. So that the kernel leaves
# it alone: net.ipv4.conf.all.rp_filter=1 (else it answers beside the bridge, and each answer comes twice) and
# net.ipv4.conf.all.arp_ignore=1. So that root may ping without a capability: net.ipv4.ping_group_range="0 0".
set -eu

ready=/run/sandbox.ready
say() { echo "sandbox: $*" >&2; }

# This is process 1 of the container: without a handler, signals to it would be ignored.
trap 'exit 0' TERM INT
# Waits for a child, so that signals are handled meanwhile, and ends as it ends.
run() { "$@" & wait $!; }

# The device that leads to a machine, by its name. It may be a moment until the name is known.
device_to() {
  tries=0
  until address=$(RES_OPTIONS="timeout:1 attempts:1" getent ahostsv4 "$1") && address=${address%% *}; do
    tries=$((tries + 1))
    [ $tries -lt 100 ] || { say "no machine $1 is known; this one asks $(tr '\n' ' ' </etc/resolv.conf)"; return 1; }
    sleep 0.2
  done
  route=$(ip -4 -o route get "$address")
  case $route in
    *" via "*) say "$1 ($address) is on none of this machine's networks: $route"; return 1 ;;
  esac
  device=${route#* dev }
  echo "${device%% *}"
}

# Userspace Open vSwitch reads frames from devices as they are: checksums that a device would have filled in are missing.
checksums() { ethtool -K "$1" tx off >/dev/null; }

start_ovs() {
  mkdir -p "$OVS_RUNDIR"
  ovsdb-tool create "$OVS_DBDIR/conf.db" /usr/share/openvswitch/vswitch.ovsschema
  ovsdb-server --remote=punix:"$OVS_RUNDIR/db.sock" --pidfile --log-file --detach -vconsole:off "$OVS_DBDIR/conf.db"
  version=$(ovs-vswitchd --version) version=${version%%
*}
  ovs-vsctl --no-wait init -- set Open_vSwitch . ovs_version="${version##* }" \
    external_ids:hostname="$(uname -n)" external_ids:system-id="$(cat /proc/sys/kernel/random/uuid)"
  ovs-vswitchd unix:"$OVS_RUNDIR/db.sock" --pidfile --log-file --detach -vconsole:off --disable-system
}

take_over() { # BRIDGE DEVICE
  checksums "$2"
  mac=$(cat "/sys/class/net/$2/address")
  addresses=$(ip -4 -o address show dev "$2" | while read -r _ _ _ address _; do echo "$address"; done)
  ovs-vsctl add-br "$1" -- set bridge "$1" datapath_type=netdev other_config:hwaddr="\"$mac\"" -- add-port "$1" "$2" 2>/dev/null
  for interface in "$1" "$2"; do
    error=$(ovs-vsctl get interface "$interface" error)
    [ "$error" = "[]" ] && [ -e "/sys/class/net/$interface" ] || {
      say "Open vSwitch cannot use $interface: $error"
      say "has the container the capabilities NET_ADMIN and NET_RAW, and the device /dev/net/tun?"
      exit 1
    }
  done
  ip link set "$1" up
  ip address flush dev "$2"
  for address in $addresses; do ip address add "$address" dev "$1"; done
  say "$1 has the device $2 and the address $addresses"
}

host() {
  for setting in rp_filter arp_ignore; do
    [ "$(cat /proc/sys/net/ipv4/conf/all/$setting)" = 1 ] || { say "the container needs the sysctl net.ipv4.conf.all.$setting=1"; exit 2; }
  done
  # First all of them: a name can no longer be asked for while its network's device changes hands.
  plan=
  for pair in "$@"; do
    case $pair in ?*=?*) ;; *) say "\"$pair\": want BRIDGE=PEER"; exit 2 ;; esac
    device=$(device_to "${pair#*=}")
    plan="$plan ${pair%%=*}=$device"
  done
  start_ovs
  for pair in $plan; do take_over "${pair%%=*}" "${pair#*=}"; done
  ip link add analyzer0 type veth peer name analyzer1
  ip link set analyzer0 up
  ip link set analyzer1 up
  touch $ready
  run ovs-erspan run
}

case ${1:-} in
  host) shift; host "$@" ;;
  collector) touch $ready; run ovs-erspan capture ;;
  plain)
    for path in /sys/class/net/eth*; do checksums "${path##*/}"; done
    touch $ready
    run sleep infinity ;;
  idle) run sleep infinity ;;
  ready) test -e $ready ;;
  *) say "\"${1:-}\": want host, collector, plain, idle or ready"; exit 2 ;;
esac
