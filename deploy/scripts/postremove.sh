#!/bin/sh
set -e
if [ "$1" = purge ] && [ -d "$DPKG_ROOT/etc/default" ]; then
  rm -f "$DPKG_ROOT/etc/default/ovs-erspan"
fi
[ -z "$DPKG_ROOT" ] && [ -d /run/systemd/system ] || exit 0
systemctl daemon-reload || true
