//go:build linux

package containers

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// engine is what runs containers: one that was there, or one of ours.
type engine struct {
	name   string
	cli    []string  // the command that does what `docker` does
	dir    string    // a directory of our own
	daemon *exec.Cmd // of an engine of ours; else nil
	log    *bytes.Buffer
}

func (e *engine) String() string { return e.name }

// findEngine returns the engine of this machine, or starts one, and points testcontainers at it.
func findEngine(ctx context.Context) (*engine, error) {
	// testcontainers' own cleaner is an image from a registry; the tests remove what they make, and containers end by
	// themselves (see lifetime).
	os.Setenv("TESTCONTAINERS_RYUK_DISABLED", "true")

	given := os.Getenv("DOCKER_HOST")
	sockets := []string{strings.TrimPrefix(given, "unix://")}
	if given == "" {
		sockets = []string{"/var/run/docker.sock", "/run/podman/podman.sock"}
	}
	var reasons []error
	for _, socket := range sockets {
		server, err := ping(ctx, socket)
		if err != nil {
			reasons = append(reasons, err)
			continue
		}
		cli := "docker"
		if strings.HasPrefix(server, "Libpod") {
			cli = "podman"
		}
		if _, err := exec.LookPath(cli); err != nil {
			reasons = append(reasons, fmt.Errorf("%s answers at %s, but there is no command %s to build the image with", server, socket, cli))
			continue
		}
		e := &engine{name: server + " at " + socket, cli: []string{cli}}
		if e.dir, err = os.MkdirTemp("", "oe-engine"); err != nil {
			return nil, err
		}
		link := filepath.Join(e.dir, "engine.sock")
		if err := os.Symlink(socket, link); err != nil {
			e.stop()
			return nil, err
		}
		useSocket(link)
		return e, nil
	}
	if given == "" {
		e, err := startPodman(ctx)
		if err == nil {
			return e, nil
		}
		reasons = append(reasons, err)
	}
	return nil, errors.Join(reasons...)
}

// useSocket points testcontainers at an engine. By the name podman.sock it would take it for a Podman whose default network
// it does not find, and would join every container to one more network.
func useSocket(path string) { os.Setenv("DOCKER_HOST", "unix://"+path) }

// ping asks an engine who it is: Docker's API, which Podman has as well.
func ping(ctx context.Context, socket string) (server string, err error) {
	client := http.Client{
		Timeout: 10 * time.Second,
		Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		}},
	}
	defer client.CloseIdleConnections()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://engine/_ping", nil)
	if err != nil {
		return "", err
	}
	response, err := client.Do(request)
	if err != nil {
		return "", fmt.Errorf("nothing answers at %s: %w", socket, err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return "", fmt.Errorf("%s answers %s", socket, response.Status)
	}
	return response.Header.Get("Server"), nil
}

// podmanScript runs as process 1 of the engine's namespaces, with the directory of the engine as $1.
//
// Everything but the socket is on a tmpfs that nobody else sees. A machine in a sandbox may lack CAP_SYS_RESOURCE, and then
// the limits that Podman wants to give a container are refused, so they are set to what is allowed here.
const podmanScript = `
set -eu
mount --make-rprivate /
mount -t proc proc /proc
ip link set lo up
# Where Podman and runc keep state whatever they are told, so that ours does not meet that of others.
for shared in /dev/shm /run/netns /run/runc /run/containers; do
  mkdir -p $shared
  mount -t tmpfs tmpfs $shared
done
mount -t tmpfs tmpfs "$1/private"
cd "$1/private"
mkdir root run tmp networks
cat >containers.conf <<CONF
[containers]
default_ulimits = ["nofile=$(ulimit -Hn):$(ulimit -Hn)", "nproc=$(ulimit -Hu):$(ulimit -Hu)"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "none"
CONF
sed -i 's/unlimited/-1/g' containers.conf
"$1/inside" system service --time 0 "unix://$1/engine.sock" &
wait
`

// podmanInside is the engine's command line, for those in its mount and process namespaces.
const podmanInside = `#!/bin/sh
CONTAINERS_CONF='%[1]s/private/containers.conf' exec '%[2]s' --root '%[1]s/private/root' --runroot '%[1]s/private/run' \
  --tmpdir '%[1]s/private/tmp' --network-config-dir '%[1]s/private/networks' --storage-driver overlay "$@"
`

// podmanOutside is it for others. It stays in the network of the caller, so that images are pulled and built there: the
// engine's own reaches nothing outside.
const podmanOutside = `#!/bin/sh
exec nsenter --target %[2]d --mount --pid '%[1]s/inside' "$@"
`

// startPodman starts an engine of ours.
func startPodman(ctx context.Context) (*engine, error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("to start Podman in namespaces of its own, be root")
	}
	for _, program := range []string{"podman", "runc", "iptables"} {
		if _, err := exec.LookPath(program); err != nil {
			return nil, fmt.Errorf("%s is not installed: scripts/setup.sh --containers does that", program)
		}
	}
	dir, err := os.MkdirTemp("", "oe-engine")
	if err != nil {
		return nil, err
	}
	e := &engine{name: "Podman, started for these tests", dir: dir, log: new(bytes.Buffer)}
	if err := e.start(ctx); err != nil {
		e.stop()
		return nil, fmt.Errorf("start Podman: %w; it said: %s", err, e.log)
	}
	return e, nil
}

func (e *engine) start(ctx context.Context) error {
	if err := os.Mkdir(filepath.Join(e.dir, "private"), 0o700); err != nil {
		return err
	}
	podman, err := exec.LookPath("podman")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(e.dir, "inside"), fmt.Appendf(nil, podmanInside, e.dir, podman), 0o755); err != nil {
		return err
	}
	e.daemon = exec.Command("bash", "-c", podmanScript, "engine", e.dir)
	e.daemon.Stdout, e.daemon.Stderr = e.log, e.log
	// Everything in a process namespace ends with its process 1, and that one ends with us.
	e.daemon.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWNS | syscall.CLONE_NEWNET,
		Pdeathsig:  syscall.SIGKILL,
	}
	e.daemon.WaitDelay = time.Second
	if err := e.daemon.Start(); err != nil {
		e.daemon = nil
		return err
	}
	socket := filepath.Join(e.dir, "engine.sock")
	if err := until(ctx, 30*time.Second, func() error { _, err := ping(ctx, socket); return err }); err != nil {
		return err
	}
	useSocket(socket)
	outside := filepath.Join(e.dir, "podman")
	e.cli = []string{outside}
	return os.WriteFile(outside, fmt.Appendf(nil, podmanOutside, e.dir, e.daemon.Process.Pid), 0o755)
}

// stop ends an engine of ours; another goes on.
func (e *engine) stop() {
	if e.daemon != nil {
		e.daemon.Process.Kill()
		e.daemon.Wait()
	}
	if e.dir != "" {
		os.RemoveAll(e.dir)
	}
}

// until waits for a condition: it returns the last error when the time is over.
func until(ctx context.Context, limit time.Duration, condition func() error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		err := condition()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("not within %v: %w", limit, err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}
