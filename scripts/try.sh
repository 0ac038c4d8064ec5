#!/usr/bin/env bash
# The sandbox of docs/try-it.md: deploy/compose.yaml, with Docker or Podman, whichever is there.
#
#   scripts/try.sh up      build the image, start the containers, wait until they are set up
#   scripts/try.sh down    stop and remove them
set -euo pipefail
cd "$(dirname "$0")/.."

die() { echo "try: $*" >&2; exit 1; }

# A Podman of root: in one without root, the hosts' devices would be behind another network.
sudo=
[ "$(id -u)" = 0 ] || sudo=sudo
if docker info >/dev/null 2>&1; then
  engine=(docker)
  if docker compose version >/dev/null 2>&1; then compose=(docker compose)
  elif command -v docker-compose >/dev/null 2>&1; then compose=(docker-compose)
  else die "docker is there, but neither 'docker compose' nor docker-compose: install one of them"
  fi
elif command -v podman >/dev/null 2>&1; then
  engine=($sudo podman)
  command -v podman-compose >/dev/null 2>&1 || die "podman is there, but not podman-compose: install it"
  compose=($sudo podman-compose)
else
  die "neither docker (with its daemon running) nor podman is there: scripts/setup.sh --containers installs podman"
fi
compose+=(-f deploy/compose.yaml -p ovs-erspan)

case ${1:-} in
  up)
    ENGINE="${engine[*]}" scripts/sandbox-image.sh >/dev/null
    "${compose[@]}" up -d
    for machine in oe-collector oe-guest oe-h2 oe-h1; do
      for ((tries = 0; ; tries++)); do
        ! "${engine[@]}" exec $machine sandbox ready >/dev/null 2>&1 || break
        if [ $tries = 300 ] || [ "$("${engine[@]}" inspect -f '{{.State.Running}}' $machine)" != true ]; then
          "${engine[@]}" logs $machine >&2
          die "$machine is not set up; its log is above"
        fi
        sleep 0.2
      done
    done
    cat <<END
try: oe-h1, oe-h2, oe-guest and oe-collector are up; docs/try-it.md goes on from here:
  ${engine[*]} exec oe-h1 ovs-erspan session --help
try: 'make try-down' takes it all away.
END
    ;;
  down) "${compose[@]}" down --timeout 5 ;;
  *) echo "try: \"${1:-}\": want up or down" >&2; exit 2 ;;
esac
