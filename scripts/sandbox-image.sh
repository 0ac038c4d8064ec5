#!/usr/bin/env bash
# Builds the image of deploy/Containerfile and prints its name, localhost/ovs-erspan-sandbox:<hash of what is in it>; the
# name without the hash is the newest (deploy/compose.yaml uses it). An image that is there already is not built again.
#
#   scripts/sandbox-image.sh              with docker, else podman
#   ENGINE="podman --root DIR" scripts/sandbox-image.sh
#   BASE=docker.io/library/ubuntu:22.04   another base image, so another Open vSwitch
#   SUITE=trixie                          another release for the base image that is made on the spot
#
# The base image comes by name where a registry is reachable. Where none is, mmdebstrap makes one from this machine's
# package sources, once (kept in $XDG_CACHE_HOME/ovs-erspan, which may be deleted).
set -euo pipefail
cd "$(dirname "$0")/.."

say() { echo "sandbox-image: $*" >&2; }

if [ -z "${ENGINE:-}" ]; then
  if docker info >/dev/null 2>&1; then ENGINE=docker
  elif command -v podman >/dev/null 2>&1; then ENGINE=podman
  else say "neither docker (with its daemon running) nor podman is there"; exit 1
  fi
fi
read -ra engine <<<"$ENGINE"

hash_of() { sha256sum | cut -c1-12; }

name=localhost/ovs-erspan-sandbox
default_base=$(sed -n 's/^ARG BASE=//p' deploy/Containerfile)
base=${BASE:-$default_base}

# As `make build` does.
CGO_ENABLED=0 ${GO:-go} build -o bin/ ./cmd/...
image=$name:$({ echo "$base ${SUITE:-}"; cat deploy/Containerfile deploy/sandbox.sh bin/ovs-erspan; } | hash_of)
if "${engine[@]}" image inspect "$image" >/dev/null 2>&1; then
  "${engine[@]}" tag "$image" $name:latest
  echo "$image"
  exit
fi

# A base image with everything that the Containerfile would install.
make_base() {
  local archive
  archive=$(scripts/debian-root.sh ${SUITE:+"$SUITE"})
  base=localhost/ovs-erspan-sandbox-base:${SUITE:-latest}
  "${engine[@]}" import "$archive" "$base" >/dev/null
}

if [ -n "${SUITE:-}" ]; then
  make_base
elif ! "${engine[@]}" image inspect "$base" >/dev/null 2>&1; then
  if ! reason=$(timeout 120 "${engine[@]}" pull --quiet "$base" 2>&1); then
    [ -z "${BASE:-}" ] || { say "pull $base: ${reason##*$'\n'}"; exit 1; }
    say "no base image from a registry (${reason##*$'\n'})"
    make_base
  fi
fi
# The host's network: in it the package sources are reachable.
"${engine[@]}" build --quiet --network host --build-arg BASE="$base" --tag "$image" --tag $name:latest \
  --file "$PWD/deploy/Containerfile" "$PWD" >&2
# Older ones that no container uses.
"${engine[@]}" images --format '{{.Repository}}:{{.Tag}}' | { grep "^$name:" || true; } | { grep -vx -e "$image" -e $name:latest || true; } |
  while read -r old; do "${engine[@]}" rmi "$old" >/dev/null 2>&1 || true; done
echo "$image"
