#!/usr/bin/env bash
# Runs e2e/systemd: the packages on a machine where systemd is process 1, which is made for it and goes with it.
#
#   scripts/test-systemd.sh container    systemd-nspawn, Open vSwitch in userspace
#   scripts/test-systemd.sh vm           a virtual machine (e2e/vm), the kernel's datapath
#   SUITE=trixie                         another release than this machine's, so another systemd and Open vSwitch
#
# The machine's file system is in memory and seen by nobody else; machine, file system and processes end with this script,
# however it ends. (SIGKILL leaves empty cgroups and a directory in /tmp.)
set -euo pipefail
cd "$(dirname "$0")/.."

kind=${1:-}
say() { echo "systemd: $*" >&2; }
left_out() { # what can be installed has to be there in CI
  say "THE SYSTEMD TIER IS LEFT OUT: $*"
  [ "${CI:-}" = true ] && exit 1 || exit 0
}
case $kind in
  container) needed="systemd-nspawn mmdebstrap" ;;
  vm) needed="qemu-system-x86_64 mmdebstrap cpio" ;;
  *) say "\"$kind\": want container or vm"; exit 2 ;;
esac
for program in $needed; do
  command -v "$program" >/dev/null || left_out "$program is not installed: scripts/setup.sh --containers does that"
done
root=()
if [ "$(id -u)" != 0 ]; then
  command -v sudo >/dev/null || left_out "it takes root, or sudo"
  root=(sudo)
fi

# What the machine is made of; see below.
probe='mount --make-rprivate / && mount -t tmpfs tmpfs /run && [ "$1" = vm ] || { [ -c /dev/net/tun ] &&
  mount -t cgroup2 cgroup2 /sys/fs/cgroup && rmdir "$(mktemp -d /sys/fs/cgroup/ovs-erspan-test.XXXXXX)"; }'
reason=$("${root[@]}" unshare --mount --pid --fork --mount-proc bash -c "$probe" probe "$kind" 2>&1) || {
  # Nobody can install this: it is the machine's, or its owner's, decision.
  say "THE SYSTEMD TIER IS LEFT OUT: namespaces, cgroups or /dev/net/tun are not to be had here: $reason"
  exit 0
}

work=$(mktemp -d)
trap '"${root[@]}" rm -rf "$work"' EXIT
mkdir "$work/scratch"
case $kind in container) echo netdev ;; vm) echo system ;; esac >"$work/scratch/datapath"
scripts/package.sh "$work/packages" >/dev/null
cp "$work"/packages/*.deb "$work"/packages/*.rpm "$work/scratch"
CGO_ENABLED=0 ${GO:-go} test -c -tags systemd -o "$work/scratch/systemd.test" ./e2e/systemd
kernel=
if [ "$kind" = vm ]; then
  kernel=$(scripts/kernel.sh) || left_out "no kernel"
  CGO_ENABLED=0 ${GO:-go} build -o "$work/vm" ./e2e/vm
fi
archive=$(scripts/debian-root.sh ${SUITE:+"$SUITE"}) || left_out "no file system of a Debian"

# What follows runs as process 1 of process and mount namespaces of its own.
machine='
set -euo pipefail
kind=$1 work=$2 archive=$3 kernel=$4
mount --make-rprivate /
mount -t tmpfs tmpfs /run
tree=/run/machine
mkdir $tree
mount -t tmpfs -o mode=755 tmpfs $tree
tar --extract --file "$archive" --directory $tree
# Our package is installed as on any other machine, manual pages and all.
rm -f $tree/etc/dpkg/dpkg.cfg.d/99mmdebstrap
rm -f $tree/etc/resolv.conf $tree/etc/hostname $tree/etc/machine-id
echo machine >$tree/etc/hostname
: >$tree/etc/machine-id
cp -r "$work/scratch" $tree/srv/ovs-erspan-test
units=$tree/etc/systemd/system
# A getty would take the console; the others are busy without being asked.
for unit in console-getty.service serial-getty@ttyS0.service getty.target apt-daily.timer apt-daily-upgrade.timer \
  dpkg-db-backup.timer e2scrub_all.timer; do
  ln -sf /dev/null $units/$unit
done
mkdir -p $units/multi-user.target.wants
ln -s ../ovs-erspan-test.service $units/multi-user.target.wants/
cat >$units/ovs-erspan-test.service <<UNIT
[Unit]
After=openvswitch-switch.service
[Service]
Environment=HOME=/root
ExecStart=/srv/ovs-erspan-test/run
UNIT
cat >$tree/srv/ovs-erspan-test/run <<RUN
#!/bin/sh
exec >/dev/console 2>&1
cd /srv/ovs-erspan-test
./systemd.test -test.v -test.timeout 15m
echo "vm-exit: \$?"
exec systemctl poweroff --force --force
RUN
chmod +x $tree/srv/ovs-erspan-test/run

if [ "$kind" = vm ]; then
  # Open vSwitch 3.1 sees no processor within 10 s of boot (e2e/vm/initramfs.go).
  mkdir -p $units/ovs-vswitchd.service.d
  cat >$units/ovs-vswitchd.service.d/late.conf <<"UNIT"
[Service]
ExecStartPre=/bin/sh -c "read up rest </proc/uptime; up=$${up%%.*}; [ $$up -ge 12 ] || sleep $$((12-up))"
UNIT
  exec "$work/vm" -root $tree -kernel "$kernel" -memory 2048 -timeout 20m
fi

mount -t cgroup2 cgroup2 /sys/fs/cgroup
cgroup=$(mktemp -d /sys/fs/cgroup/ovs-erspan-test.XXXXXX)
echo $$ >$cgroup/cgroup.procs
log=/run/log
TERM=dumb systemd-nspawn --quiet --register=no --keep-unit --private-network --bind=/dev/net/tun --directory=$tree --boot \
  --console=read-only -- --show-status=false </dev/null | tee $log
echo $$ >/sys/fs/cgroup/cgroup.procs
find $cgroup -depth -type d -exec rmdir {} \;
code=$(tr -d "\r" <$log | sed -n "s/^vm-exit: //p")
[ -n "$code" ] || { echo "systemd: the machine ended without a result" >&2; exit 1; }
exit $code
'
# Not exec: the directory has to go.
"${root[@]}" env ${CI:+CI="$CI"} setpriv --pdeathsig KILL unshare --mount --pid --fork --kill-child --mount-proc \
  bash -c "$machine" machine "$kind" "$work" "$archive" "$kernel"
