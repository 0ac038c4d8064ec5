#!/bin/sh
# After installing: Debian enables and starts services (deb: $1 is "configure"), Red Hat leaves that to presets (rpm: $1 is
# the number of installed versions). An upgrade restarts the daemon, which costs no copy.
set -e
[ -z "$DPKG_ROOT" ] || exit 0 # systemd makes the user when that system starts
# The daemon's user: here, too, where systemd does not run (an image that is built).
if ! id -u ovs-erspan >/dev/null 2>&1; then
  if command -v systemd-sysusers >/dev/null; then
    systemd-sysusers ovs-erspan.conf
  else
    useradd --system --user-group --no-create-home --home-dir / --shell /usr/sbin/nologin --comment 'ovs-erspan daemon' ovs-erspan
  fi
fi
[ -d /run/systemd/system ] || exit 0
systemctl daemon-reload
case "$1" in
  configure)
    if [ -n "$2" ]; then
      systemctl try-restart ovs-erspan.service || true
    else
      systemctl enable --now ovs-erspan.service || true
    fi ;;
  1) systemctl preset ovs-erspan.service || true ;;
  *) systemctl try-restart ovs-erspan.service || true ;;
esac
