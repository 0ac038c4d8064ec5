// Package containers holds the container tier of the end-to-end tests: ovs-erspan in containers, as deploy/compose.yaml
// runs it, on Docker or Podman, judged by tshark and tcpdump of this machine.
//
//	make test-containers
//
// A running engine is used where there is one: $DOCKER_HOST, Docker's socket, Podman's socket. Otherwise the tests start
// Podman themselves, in namespaces of its own (network, processes, mounts) and with its storage in memory, so that it ends
// with the tests, however they end, and neither bridges nor firewall rules nor images are left on this machine.
//
// It is a module of its own so that testcontainers' dependencies are not those of ovs-erspan. It imports no package of
// ours.
package containers
