#!/bin/sh
# Before removing, not before an upgrade (deb: "upgrade", rpm: 1). What is programmed stays in force: sessions are Open
# vSwitch's data. 'ovs-erspan uninstall' removes them.
set -e
[ -z "$DPKG_ROOT" ] && [ -d /run/systemd/system ] || exit 0
case "$1" in
  remove | 0) systemctl disable --now ovs-erspan.service || true ;;
esac
