#!/usr/bin/env bash
# Holds the import table of docs/architecture.md: which package may import which of ours, and which library stays behind
# which package. One line a package: name, then what it may import of ours.
set -euo pipefail
cd "$(dirname "$0")/.."

module=github.com/ovs-erspan/ovs-erspan
table='
erspan
session    erspan
flows      session erspan
ovsdb      session flows unixsocket
openflow   flows unixsocket
doctor     session flows
trace      erspan session flows probe
vswitchd   flows unixsocket
underlay   flows
controller session flows
metrics    session flows controller
capture    erspan session probe
unixsocket
httpd
probe
compose
cmd/ovs-erspan erspan session flows doctor trace ovsdb openflow vswitchd underlay controller metrics httpd capture probe compose e2e/lab
cmd/ovs-erspan-extcap erspan session capture
e2e/lab
e2e/systemd
e2e/vm e2e/vm/judge
e2e/vm/judge
e2e/vm/tshark e2e/vm/judge
'
# A library, and the only package that may know it.
libraries='
github.com/ovn-kubernetes/libovsdb ovsdb
github.com/digitalocean/go-openvswitch openflow
github.com/vishvananda/netlink underlay|e2e/lab
github.com/safchain/ethtool underlay
github.com/google/nftables underlay
github.com/prometheus/client_golang metrics
github.com/gopacket/gopacket/layers compose
'

failed=0
complain() { echo "imports: $*" >&2; failed=1; }

while read -r package imports; do
  package=${package#"$module"/}
  if [ -z "${package##*/ovsdbtest}" ] || [ "$package" = e2e ]; then continue; fi # tests' own
  row=$(grep -E "^$package( |$)" <<<"$table") || { complain "$package is not in the table of scripts/check-imports.sh"; continue; }
  for i in $imports; do
    case $i in
      "$module"/*)
        grep -qw -- "${i#"$module"/}" <<<" ${row#"$package"} " || complain "$package may not import ${i#"$module"/}" ;;
    esac
  done
  while read -r library owner; do
    [ -n "$library" ] || continue
    if [[ " $imports" == *" $library"* ]] && ! [[ $package =~ ^($owner)$ ]]; then
      complain "$package may not import $library: only $owner knows it"
    fi
  done <<<"$libraries"
  if [ "$package" = erspan ] && [[ $imports == *.*/* ]]; then complain "erspan may import only the standard library: $imports"; fi
done < <(go list -f '{{.ImportPath}} {{join .Imports " "}}' ./...)
exit $failed
