#!/bin/sh
# After removing (deb: "remove", then perhaps "purge"; rpm: 0 versions are left).
set -e
case "$1" in
  # The program is gone, so nobody holds its lock.
  remove | purge | 0) rm -f "$DPKG_ROOT/run/openvswitch/ovs-erspan.lock" ;;
esac
if [ "$1" = purge ] && [ -d "$DPKG_ROOT/etc/default" ]; then
  rm -f "$DPKG_ROOT/etc/default/ovs-erspan"
fi
[ -z "$DPKG_ROOT" ] && [ -d /run/systemd/system ] || exit 0
systemctl daemon-reload || true
