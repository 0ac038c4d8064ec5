#!/usr/bin/env bash
# Makes the Debian and RPM packages: scripts/package.sh [DIRECTORY] (default dist). $VERSION sets the version.
set -euo pipefail
cd "$(dirname "$0")/.."

dist=$(mkdir -p "${1:-dist}" && cd "${1:-dist}" && pwd)
GO=${GO:-go}
VERSION=${VERSION:-$(git describe --tags --match 'v[0-9]*' 2>/dev/null || echo v0.0.0)}
export VERSION=${VERSION#v} ARCH=$($GO env GOARCH)
case $ARCH in amd64) cpu=x86_64 ;; arm64) cpu=aarch64 ;; *) cpu=$ARCH ;; esac

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for command in cmd/*/; do
  name=$(basename "$command")
  CGO_ENABLED=0 $GO build -trimpath -ldflags "-s -w -X main.version=$VERSION" -o "$work/bin/$name" "./$command"
done
program=$work/bin/ovs-erspan
"$program" man "$work/man" >/dev/null
gzip -9n "$work"/man/*.8

stage() { # stage ROOT ZSH-DIRECTORY EXTCAP-DIRECTORY
  local root=$1
  install -D -m 755 "$program" "$root/usr/bin/ovs-erspan"
  install -D -m 644 -t "$root/usr/share/man/man8" "$work"/man/*.gz
  install -D -m 644 -t "$root/usr/lib/systemd/system" deploy/ovs-erspan.service deploy/ovs-erspan-rundir.service
  install -D -m 644 deploy/sysusers.conf "$root/usr/lib/sysusers.d/ovs-erspan.conf"
  install -D -m 644 -t "$root/usr/share/doc/ovs-erspan" README.md CHANGELOG.md LICENSE
  install -D -m 644 -t "$root/usr/share/doc/ovs-erspan/monitoring" deploy/grafana-dashboard.json deploy/prometheus-rules.yaml
  for shell in bash zsh fish; do "$program" completion "$shell" >"$work/completion.$shell"; done
  install -D -m 644 "$work/completion.bash" "$root/usr/share/bash-completion/completions/ovs-erspan"
  install -D -m 644 "$work/completion.zsh" "$root$2/_ovs-erspan"
  install -D -m 644 "$work/completion.fish" "$root/usr/share/fish/vendor_completions.d/ovs-erspan.fish"
  if [ -e "$work/bin/ovs-erspan-extcap" ]; then
    install -D -m 755 "$work/bin/ovs-erspan-extcap" "$root$3/ovs-erspan-extcap"
  fi
}

stage "$work/deb" /usr/share/zsh/vendor-completions "/usr/lib/$cpu-linux-gnu/wireshark/extcap"
# Until merged-/usr is everywhere, Debian looks for units in /lib.
mkdir -p "$work/deb/lib/systemd/system"
mv "$work"/deb/usr/lib/systemd/system/*.service "$work/deb/lib/systemd/system/"
find "$work/deb/usr/lib" -type d -empty -delete 2>/dev/null || true
stage "$work/rpm" /usr/share/zsh/site-functions /usr/lib64/wireshark/extcap

for format in deb rpm; do
  ROOT=$work/$format $GO tool -modfile=tools/go.mod nfpm package --config deploy/nfpm.yaml --packager $format --target "$dist"
done
ls "$dist"/*.deb "$dist"/*.rpm
