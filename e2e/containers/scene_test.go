//go:build linux

package containers

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/testcontainers/testcontainers-go"
	tcexec "github.com/testcontainers/testcontainers-go/exec"
	"github.com/testcontainers/testcontainers-go/network"
)

// patience is how long a test waits for a condition: far longer than it takes, for machines are busy.
const patience = time.Minute

// lifetime ends a container by itself, in an engine that goes on when the tests were killed.
const lifetime = 15 * time.Minute

// privileges are what a machine of the sandbox may do; the rest is taken away.
type privileges struct {
	capabilities []string
	tun          bool // may open /dev/net/tun, for the bridges' own ports
}

// These are the same as in deploy/compose.yaml; TestPrivileges shows that each is needed.
var (
	hostPrivileges      = privileges{capabilities: []string{"NET_ADMIN", "NET_RAW"}, tun: true}
	collectorPrivileges = privileges{capabilities: []string{"NET_RAW"}}
	guestPrivileges     = privileges{capabilities: []string{"NET_ADMIN"}}
)

// sysctls of every machine, as in deploy/compose.yaml, which says why.
var sysctls = map[string]string{
	"net.ipv4.ping_group_range":    "0 0",
	"net.ipv4.conf.all.rp_filter":  "1",
	"net.ipv4.conf.all.arp_ignore": "1",
}

// machine is a container of the sandbox.
type machine struct {
	t    testing.TB
	ctx  context.Context
	name string
	c    testcontainers.Container
}

// in is the machine as a subtest sees it.
func (m *machine) in(t testing.TB) *machine {
	return &machine{t: t, ctx: m.ctx, name: m.name, c: m.c}
}

func newContext(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// newNetwork makes a private network: it leads nowhere but to those on it.
func newNetwork(ctx context.Context, t testing.TB) *testcontainers.DockerNetwork {
	t.Helper()
	n, err := network.New(ctx, network.WithInternal())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Remove(context.Background()); err != nil {
			t.Errorf("remove the network: %v", err)
		}
	})
	return n
}

// start runs a machine; it may not be set up yet when this returns.
func start(ctx context.Context, t testing.TB, name string, p privileges, networks []*testcontainers.DockerNetwork, command ...string) *machine {
	t.Helper()
	var options []testcontainers.ContainerCustomizer
	for _, n := range networks {
		options = append(options, network.WithNetwork([]string{name}, n))
	}
	return startWith(ctx, t, name, p, append(options, testcontainers.WithHostConfigModifier(func(h *container.HostConfig) {
		h.Sysctls = sysctls
	})), command...)
}

func startWith(ctx context.Context, t testing.TB, name string, p privileges, options []testcontainers.ContainerCustomizer, command ...string) *machine {
	t.Helper()
	options = append([]testcontainers.ContainerCustomizer{
		testcontainers.WithEntrypoint("timeout", "--foreground", "--signal=TERM", fmt.Sprint(lifetime.Seconds()), "sandbox"),
		testcontainers.WithCmd(command...),
		testcontainers.WithTmpfs(map[string]string{"/run": "rw", "/tmp": "rw"}),
		testcontainers.WithHostConfigModifier(func(h *container.HostConfig) {
			h.CapDrop = []string{"ALL"}
			h.CapAdd = p.capabilities
			h.SecurityOpt = []string{"no-new-privileges"}
			h.ReadonlyRootfs = true
			if p.tun {
				h.Devices = []container.DeviceMapping{{PathOnHost: "/dev/net/tun", PathInContainer: "/dev/net/tun", CgroupPermissions: "rw"}}
			}
		}),
	}, options...)
	c, err := testcontainers.Run(ctx, image, options...)
	m := &machine{t: t, ctx: ctx, name: name, c: c}
	if c != nil {
		t.Cleanup(m.remove)
	}
	if err != nil {
		t.Fatalf("start %s: %v", name, err)
	}
	return m
}

func (m *machine) remove() {
	if m.t.Failed() {
		m.t.Logf("log of %s:\n%s", m.name, m.log())
	}
	if err := m.c.Terminate(context.Background(), testcontainers.StopTimeout(2*time.Second)); err != nil {
		m.t.Errorf("remove %s: %v", m.name, err)
	}
}

func (m *machine) log() string {
	r, err := m.c.Logs(context.Background())
	if err != nil {
		return err.Error()
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// exec runs a program in the machine. The error holds what it said. It ends when nobody holds its output any more.
func (m *machine) exec(args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(m.ctx, patience)
	defer cancel()
	code, r, err := m.c.Exec(ctx, args, tcexec.Multiplexed())
	if err != nil {
		return "", fmt.Errorf("%s: %s: %w", m.name, strings.Join(args, " "), err)
	}
	out, err := io.ReadAll(r)
	if err != nil {
		return "", fmt.Errorf("%s: %s: %w", m.name, strings.Join(args, " "), err)
	}
	if code != 0 {
		return string(out), fmt.Errorf("%s: %s: exit %d: %s", m.name, strings.Join(args, " "), code, out)
	}
	return string(out), nil
}

// ok runs a program that has to succeed.
func (m *machine) ok(args ...string) string {
	m.t.Helper()
	out, err := m.exec(args...)
	if err != nil {
		m.t.Fatal(err)
	}
	return strings.TrimSpace(out)
}

// wait waits for a condition that a program in the machine tells.
func (m *machine) wait(what string, condition func() error) {
	m.t.Helper()
	if err := until(m.ctx, patience, condition); err != nil {
		m.t.Fatalf("%s: %s: %v", m.name, what, err)
	}
}

// ready waits until the machine is set up.
func (m *machine) ready() *machine {
	m.t.Helper()
	m.wait("is set up", func() error {
		if state, err := m.c.State(m.ctx); err == nil && !state.Running {
			m.t.Fatalf("%s ended", m.name) // with a log, that comes when it is removed
		}
		_, err := m.exec("sandbox", "ready")
		return err
	})
	return m
}

// addressOf is the IPv4 address of a device.
func (m *machine) addressOf(device string) string {
	m.t.Helper()
	// "2: eth0    inet 10.89.0.2/24 brd …"
	words := strings.Fields(m.ok("ip", "-4", "-o", "address", "show", "dev", device))
	i := slices.Index(words, "inet")
	if i < 0 || i+1 == len(words) {
		m.t.Fatalf("%s: %s has no IPv4 address: %q", m.name, device, words)
	}
	p, err := netip.ParsePrefix(words[i+1])
	if err != nil {
		m.t.Fatal(err)
	}
	return p.Addr().String()
}

// nic is the device that a bridge took over.
func (m *machine) nic(bridge string) string {
	m.t.Helper()
	for _, port := range strings.Fields(m.ok("ovs-vsctl", "list-ports", bridge)) {
		if strings.HasPrefix(port, "eth") {
			return port
		}
	}
	m.t.Fatalf("%s: %s has no device of the container", m.name, bridge)
	return ""
}

// counters of a session, by the names of `session show -o json`.
func (m *machine) packets(session, counter string) int {
	m.t.Helper()
	var shown struct {
		Status map[string]json.RawMessage
	}
	if err := json.Unmarshal([]byte(m.ok("ovs-erspan", "session", "show", session, "-o", "json")), &shown); err != nil {
		m.t.Fatal(err)
	}
	var count struct{ Packets int }
	if raw, found := shown.Status[counter]; found {
		if err := json.Unmarshal(raw, &count); err != nil {
			m.t.Fatal(err)
		}
	}
	return count.Packets
}

// capture is a tcpdump at a machine.
type capture struct {
	m    *machine // where tcpdump runs
	file string   // there
	copy string   // on this machine
}

// capture starts tcpdump and returns when it listens. The machines may not change users, and tcpdump insists on that: so it
// runs in a container of its own, in the network of the machine.
func (m *machine) capture(device, filter string) *capture {
	m.t.Helper()
	watcher := startWith(m.ctx, m.t, "watcher of "+m.name, privileges{capabilities: []string{"NET_RAW", "SETUID", "SETGID"}},
		[]testcontainers.ContainerCustomizer{testcontainers.WithHostConfigModifier(func(h *container.HostConfig) {
			h.NetworkMode = container.NetworkMode("container:" + m.c.GetContainerID())
		})}, "idle")
	c := &capture{m: watcher, file: "/run/" + device + ".pcap", copy: filepath.Join(m.t.TempDir(), device+".pcap")}
	watcher.ok("sh", "-c", `tcpdump -i "$1" -w "$2" -U --immediate-mode -s 0 -B 4096 -n -Z root "$3" >"$2.log" 2>&1 & echo $! >"$2.pid"`,
		"capture", device, c.file, filter)
	watcher.wait("tcpdump listens", func() error { _, err := watcher.exec("grep", "listening on", c.file+".log"); return err })
	return c
}

// waitCount waits until at least n packets are in the file.
func (c *capture) waitCount(n int) {
	c.m.t.Helper()
	c.m.wait(fmt.Sprintf("%d packets in %s", n, c.file), func() error {
		c.fetch()
		// While tcpdump writes, the last packet may be cut short.
		out, _ := exec.CommandContext(c.m.ctx, "tcpdump", "-Z", "root", "-n", "-t", "-q", "-r", c.copy).Output()
		if got := bytes.Count(out, []byte("\n")); got < n {
			return fmt.Errorf("%d packets", got)
		}
		return nil
	})
}

// stop ends tcpdump when the file has at least n packets, and brings the file here.
func (c *capture) stop(n int) {
	c.m.t.Helper()
	c.waitCount(n)
	c.m.ok("sh", "-c", `kill -INT $(cat "$1.pid")`, "stop", c.file)
	c.m.wait("tcpdump ends", func() error { _, err := c.m.exec("grep", "dropped by kernel", c.file+".log"); return err })
	if log := c.m.ok("cat", c.file+".log"); !strings.Contains(log, "\n0 packets dropped by kernel") {
		c.m.t.Fatalf("%s: tcpdump lost packets: %s", c.m.name, log)
	}
	c.fetch()
}

// fetch copies the file as it is now to this machine. (Docker does not copy from a tmpfs.)
func (c *capture) fetch() {
	c.m.t.Helper()
	content, err := c.m.exec("cat", c.file)
	if err != nil {
		c.m.t.Fatal(err)
	}
	if err := os.WriteFile(c.copy, []byte(content), 0o644); err != nil {
		c.m.t.Fatal(err)
	}
}

// fields are what this machine's tshark finds, a row for each packet that the display filter takes. Of a field that is
// there twice, outside and inside, it is the inner one.
func (c *capture) fields(filter string, fields ...string) [][]string {
	c.m.t.Helper()
	args := []string{"-n", "-r", c.copy, "-Y", filter, "-T", "fields", "-E", "occurrence=l"}
	for _, f := range fields {
		args = append(args, "-e", f)
	}
	var rows [][]string
	for line := range strings.Lines(c.run("tshark", args...)) {
		rows = append(rows, strings.Split(strings.TrimSuffix(line, "\n"), "\t"))
	}
	return rows
}

// frames are the bytes of each frame, as this machine's tcpdump prints them, in an order of their own.
func (c *capture) frames() []string {
	c.m.t.Helper()
	var frames []string
	for line := range strings.Lines(c.run("tcpdump", "-Z", "root", "-n", "-t", "-q", "-xx", "-r", c.copy)) {
		if !strings.HasPrefix(line, "\t") {
			frames = append(frames, "")
			continue
		}
		_, bytes, _ := strings.Cut(line, ":  ")
		frames[len(frames)-1] += bytes
	}
	slices.Sort(frames)
	return frames
}

// run runs a program of this machine.
func (c *capture) run(name string, args ...string) string {
	c.m.t.Helper()
	command := exec.CommandContext(c.m.ctx, name, args...)
	// A user's own preferences must not change what is decoded.
	command.Env = append(os.Environ(), "WIRESHARK_CONFIG_DIR="+c.m.t.TempDir())
	var stderr bytes.Buffer
	command.Stderr = &stderr
	out, err := command.Output()
	if err != nil {
		c.m.t.Fatal(errors.Join(fmt.Errorf("%s: %w", name, err), errors.New(stderr.String())))
	}
	return string(out)
}
