//go:build linux && systemd

package systemd

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// The machine's network: two guests on br0, and the collector behind br-ul.
const (
	addrA, addrB  = "10.1.0.1", "10.1.0.2"
	addrHost      = "192.0.2.1"
	addrCollector = "192.0.2.2"
)

// echo is a filter for the copy of an echo request or reply (ICMP type 8 or 0) in a session: an IPv4 packet without
// options, GRE with a sequence number, ERSPAN Type II, an untagged Ethernet frame, IPv4 and ICMP.
func echo(icmpType, session int) string {
	return fmt.Sprintf("ip[0] = 0x45 and ip[20:4] = 0x100088be and (ip[28:2] >> 12) = 1 and (ip[30:2] & 0x3ff) = %d and ip[48:2] = 0x0800 and ip[59] = 1 and ip[70] = %d", session, icmpType)
}

// TestUnit is one story, in order: each part finds the machine as the one before left it.
func TestUnit(t *testing.T) {
	deb := only(t, "*.deb")
	before := files(t)
	network(t, datapath(t))
	hung := 0 // the process that the watchdog ended
	for _, part := range []struct {
		name string
		run  func(t *testing.T)
	}{
		{"install", func(t *testing.T) { install(t, deb) }},
		{"sandbox", sandbox},
		{"contained", contained},
		{"session", sessions},
		{"restart", restarts},
		{"watchdog", func(t *testing.T) { hung = watchdog(t) }},
		{"without Open vSwitch", withoutOVS},
		{"options", options},
		{"upgrade", func(t *testing.T) { upgrade(t, deb) }},
		{"journal", func(t *testing.T) { logged(t, hung) }},
		{"purge", func(t *testing.T) { purge(t, before) }},
		{"rpm", func(t *testing.T) { redHat(t, only(t, "*.rpm"), before) }},
	} {
		if !t.Run(part.name, part.run) {
			break
		}
	}
}

func only(t *testing.T, pattern string) string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(scratch, pattern))
	if err != nil || len(found) != 1 {
		t.Fatalf("%s: %v, %v; want one", pattern, found, err)
	}
	return found[0]
}

func network(t *testing.T, datapath string) {
	t.Helper()
	for _, bridge := range []string{"br0", "br-ul"} {
		run(t, "ovs-vsctl", "add-br", bridge, "--", "set", "bridge", bridge, "datapath_type="+datapath)
	}
	for _, m := range []struct{ name, port, bridge, address string }{
		{"a", "vnet0", "br0", addrA}, {"b", "vnet1", "br0", addrB}, {"collector", "uplink", "br-ul", addrCollector},
	} {
		run(t, "ip", "netns", "add", m.name)
		run(t, "ip", "link", "add", m.port, "type", "veth", "peer", "name", "eth0", "netns", m.name)
		run(t, "ip", "link", "set", m.port, "up")
		run(t, "ip", "-n", m.name, "address", "add", m.address+"/24", "dev", "eth0")
		run(t, "ip", "-n", m.name, "link", "set", "eth0", "up")
		run(t, "ovs-vsctl", "add-port", m.bridge, m.port)
	}
	run(t, "ip", "address", "add", addrHost+"/24", "dev", "br-ul")
	run(t, "ip", "link", "set", "br-ul", "up")
	wait(t, "the guests reach each other", func() error {
		_, err := try("ip", "netns", "exec", "a", "ping", "-c", "1", "-W", "1", addrB)
		return err
	})
}

// install: the package's own scripts start the unit, and it says by itself when it is ready.
func install(t *testing.T, deb string) {
	run(t, "dpkg", "--install", deb)
	for name, want := range map[string]string{
		"ActiveState": "active", "SubState": "running", "Type": "notify", "NotifyAccess": "main", "UnitFileState": "enabled",
		"NRestarts": "0", "Result": "success",
	} {
		if got := property(t, name); got != want {
			t.Errorf("%s=%s, want %s", name, got, want)
		}
	}
	ready(t, metricsAddress)
	// A release whose daemon was root takes no other: so one can go back.
	if owner := lockOwner(t); owner != "root" {
		t.Errorf("the lock is %s's", owner)
	}
}

// sandbox: what the kernel says of the process that runs.
func sandbox(t *testing.T) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", mainPID(t)))
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		"CapBnd:\t0000000000001002", "CapPrm:\t0000000000001002", "CapEff:\t0000000000001002", "CapAmb:\t0000000000001002", // CAP_DAC_OVERRIDE, CAP_NET_ADMIN
		"Uid:\t" + strings.Repeat("\t"+run(t, "id", "-u", "ovs-erspan"), 4)[1:],
		"NoNewPrivs:\t1", "Seccomp:\t2",
	} {
		if !strings.Contains(string(status), line+"\n") {
			t.Errorf("no %q in:\n%s", line, status)
		}
	}
	limits, err := os.ReadFile(fmt.Sprintf("/proc/%d/limits", mainPID(t)))
	if err != nil || !regexp.MustCompile(`(?m)^Max open files +16384 +16384 `).Match(limits) {
		t.Errorf("%v: limits:\n%s", err, limits)
	}
	if got := property(t, "MemoryMax"); got != "1073741824" {
		t.Errorf("MemoryMax=%s", got)
	}
	mounts, err := os.ReadFile(fmt.Sprintf("/proc/%d/mounts", mainPID(t)))
	if err != nil {
		t.Fatal(err)
	}
	// The last mount at a place is the one that is seen.
	writable := map[string]bool{}
	for line := range strings.Lines(string(mounts)) {
		f := strings.Fields(line)
		writable[f[1]] = slices.Contains(strings.Split(f[3], ","), "rw")
	}
	var all []string
	for path, is := range writable {
		if is && !strings.HasSuffix(path, unit+"/memory.pressure") { // its own, in releases of systemd that have it
			all = append(all, path)
		}
	}
	slices.Sort(all)
	// /proc/sys and what else of /proc is root's to change are mounted apart, and terminals are their owners'.
	if want := []string{"/dev/pts", "/proc", "/run/openvswitch", "/tmp", "/var/run/openvswitch", "/var/tmp"}; !slices.Equal(all, want) || writable["/proc/sys"] {
		t.Errorf("writable: %v, want %v:\n%s", all, want, mounts)
	}
	rating := run(t, "systemd-analyze", "security", "--no-pager", unit)
	found := regexp.MustCompile(`exposure level for \S+: (\d+\.\d+)`).FindStringSubmatch(rating)
	if found == nil {
		t.Fatalf("systemd-analyze security: %s", rating)
	}
	t.Logf("exposure level %s", found[1])
	if level, _ := strconv.ParseFloat(found[1], 64); level > 2.5 {
		t.Errorf("exposure level %s, want at most 2.5:\n%s", found[1], rating)
	}
}

// shown is a session as `session show -o json` has it.
type shown struct {
	Status struct{ State, Reason, Message string }
}

func active(t *testing.T, names ...string) {
	t.Helper()
	for _, name := range names {
		wait(t, "session "+name, func() error {
			out, err := try("ovs-erspan", "session", "show", name, "-o", "json")
			if err != nil {
				return err
			}
			var s shown
			if err := json.Unmarshal([]byte(out), &s); err != nil {
				return fmt.Errorf("%w: %s", err, out)
			}
			if s.Status.State != "Active" {
				return fmt.Errorf("%+v", s.Status)
			}
			return nil
		})
	}
}

// ping sends echo requests from a to b, and returns when all are answered. What ping itself says of loss does not count: for
// the last answer it waits no longer than for two of those before.
func ping(count int) error {
	before, err := replies()
	if err != nil {
		return err
	}
	if _, err := try("ip", "netns", "exec", "a", "ping", "-q", "-c", strconv.Itoa(count), "-i", "0.02", "-s", "500", addrB); err != nil {
		return err
	}
	return until(func() error {
		now, err := replies()
		if err == nil && now-before < count {
			err = fmt.Errorf("production lost packets: %d answers to %d", now-before, count)
		}
		return err
	})
}

// replies is how many echo replies a has got.
func replies() (int, error) {
	out, err := try("ip", "netns", "exec", "a", "nstat", "--noupdate", "--ignore", "--zeros", "IcmpInEchoReps")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(out) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == "IcmpInEchoReps" {
			return strconv.Atoi(f[1])
		}
	}
	return 0, fmt.Errorf("nstat: %s", out)
}

func pings(t *testing.T, count int) {
	t.Helper()
	if err := ping(count); err != nil {
		t.Error(err)
	}
}

// sessions: added from a shell, put in force by the daemon in its sandbox. One that is cut short needs, on the kernel's
// datapath, a pair of devices for each direction: netlink and ethtool in the sandbox.
func sessions(t *testing.T) {
	run(t, "ovs-erspan", "session", "add", "whole", "--bridge", "br0", "--source", "vnet0", "--collector", addrCollector, "--session-id", "100")
	run(t, "ovs-erspan", "session", "add", "short", "--bridge", "br0", "--source", "vnet0", "--collector", addrCollector, "--session-id", "200", "--snaplen", "64")
	active(t, "whole", "short")
	pairs := strings.Count(run(t, "ip", "-o", "link", "show", "type", "veth"), ": es-")
	if want := map[string]int{"netdev": 0, "system": 4}[datapath(t)]; pairs != want {
		t.Errorf("%d devices of pairs, want %d", pairs, want)
	}
	const count = 20
	c := startCapture(t)
	pings(t, count)
	// Outer IP, GRE, ERSPAN; inner Ethernet, IP, ICMP and 500 bytes, or what snaplen leaves of them.
	for session, length := range map[int]int{100: 20 + 8 + 8 + 14 + 20 + 8 + 500, 200: 20 + 8 + 8 + 64} {
		for _, icmpType := range []int{8, 0} {
			c.copies(fmt.Sprintf("session %d, ICMP type %d, length %d", session, icmpType, length),
				fmt.Sprintf("%s and ip[2:2] = %d", echo(icmpType, session), length), count)
		}
	}
	_, metrics, err := get(metricsAddress, "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	for _, session := range []string{"whole", "short"} {
		if !strings.Contains(metrics, `session="`+session+`"`) {
			t.Errorf("no metrics of session %s:\n%s", session, metrics)
		}
	}
}

// restarts: `systemctl restart` while production talks loses no copy and no session.
func restarts(t *testing.T) {
	was := mainPID(t)
	c := startCapture(t)
	const count = 150
	done := make(chan error)
	go func() { done <- ping(count) }()
	run(t, "systemctl", "restart", unit)
	ready(t, metricsAddress)
	if err := <-done; err != nil {
		t.Error(err)
	}
	if mainPID(t) == was {
		t.Error("it was not restarted")
	}
	for _, icmpType := range []int{8, 0} {
		c.copies("over a restart", echo(icmpType, 100), count)
	}
	active(t, "whole", "short")
}

// watchdog: a daemon that stands still is killed and started again, by systemd. It returns that process.
func watchdog(t *testing.T) int {
	configure(t, "watchdog.conf", "[Service]\nWatchdogSec=5s\nTimeoutAbortSec=1s\n")
	ready(t, metricsAddress)
	was := mainPID(t)
	if err := syscall.Kill(was, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	c := startCapture(t)
	pings(t, 10)
	c.copies("of a daemon that stands still", echo(8, 100), 10)
	wait(t, "systemd starts it again", func() error {
		if n, pid := property(t, "NRestarts"), mainPID(t); n == "0" || pid == 0 || pid == was {
			return fmt.Errorf("%s restarts, process %d (was %d)", n, pid, was)
		}
		return nil
	})
	ready(t, metricsAddress)
	if log := run(t, "journalctl", "--no-pager", "--unit", unit); !strings.Contains(log, "Watchdog timeout") {
		t.Errorf("it was not the watchdog:\n%s", log)
	}
	active(t, "whole", "short")
	wait(t, "its status", func() error {
		if s := property(t, "StatusText"); s != "in force" {
			return fmt.Errorf("%q", s)
		}
		return nil
	})
	return was
}

// withoutOVS: systemd starts the daemon though there is no Open vSwitch, and it goes to work when there is. Before that Open
// vSwitch's directory in /run went, and the daemon, which could not see another, was started again by systemd.
func withoutOVS(t *testing.T) {
	before := mainPID(t)
	run(t, "systemctl", "stop", "openvswitch-switch.service", "ovs-vswitchd.service", "ovsdb-server.service")
	if err := os.RemoveAll("/run/openvswitch"); err != nil {
		t.Fatal(err)
	}
	wait(t, "systemd starts it again", func() error {
		if pid := mainPID(t); pid == 0 || pid == before {
			return fmt.Errorf("process %d", pid)
		}
		return nil
	})
	run(t, "systemctl", "stop", unit)
	if err := os.RemoveAll("/run/openvswitch"); err != nil {
		t.Fatal(err)
	}
	run(t, "systemctl", "start", unit)
	if state := property(t, "ActiveState"); state != "active" {
		t.Errorf("without Open vSwitch it is %s", state)
	}
	notReady(t)
	was := mainPID(t)
	run(t, "systemctl", "start", "openvswitch-switch.service")
	ready(t, metricsAddress)
	if pid := mainPID(t); pid != was {
		t.Errorf("process %d, was %d: it was restarted", pid, was)
	}
	run(t, "ip", "address", "replace", addrHost+"/24", "dev", "br-ul") // a bridge's own device is made anew
	run(t, "ip", "link", "set", "br-ul", "up")
	active(t, "whole", "short")
	c := startCapture(t)
	pings(t, 10)
	for _, session := range []int{100, 200} {
		c.copies("after Open vSwitch came back", echo(8, session), 10)
	}
}

// options: where the daemon listens is set by a drop-in or by the file that the unit names, which goes before.
func options(t *testing.T) {
	const first, second = "127.0.0.1:9476", "127.0.0.1:9477"
	configure(t, "listen.conf", "[Service]\nEnvironment=\"OVS_ERSPAN_OPTIONS=--listen "+first+"\"\n")
	ready(t, first)
	if _, _, err := get(metricsAddress, "/healthz"); err == nil {
		t.Errorf("it listens on %s still", metricsAddress)
	}
	const file = "/etc/default/ovs-erspan"
	if err := os.WriteFile(file, []byte("OVS_ERSPAN_OPTIONS=\"--listen "+second+" -v\"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	restart(t)
	ready(t, second)
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
}

// asRoot is what the unit was before its daemon had a user of its own.
const asRoot = `[Service]
User=
CapabilityBoundingSet=
CapabilityBoundingSet=CAP_NET_ADMIN
AmbientCapabilities=
TemporaryFileSystem=
BindPaths=
BindReadOnlyPaths=
InaccessiblePaths=
NoExecPaths=
ReadWritePaths=/run
`

// lockOwner is whose the lock's file is.
func lockOwner(t *testing.T) string {
	t.Helper()
	return run(t, "stat", "--format", "%U", "/run/openvswitch/ovs-erspan.lock")
}

// upgrade: installing again restarts the daemon, also where it was root's until then, and its lock with it.
func upgrade(t *testing.T, deb string) {
	run(t, "systemctl", "stop", unit)
	run(t, "rm", "/run/openvswitch/ovs-erspan.lock")
	t.Run("from a daemon of root's", func(t *testing.T) {
		configure(t, "root.conf", asRoot)
		ready(t, metricsAddress)
		if owner := lockOwner(t); owner != "root" {
			t.Errorf("the lock is %s's", owner)
		}
	})
	ready(t, metricsAddress)
	was := mainPID(t)
	run(t, "dpkg", "--install", deb)
	ready(t, metricsAddress)
	if mainPID(t) == was {
		t.Error("the old daemon runs still")
	}
	active(t, "whole", "short")
	if owner := run(t, "ps", "-o", "user=", "-p", strconv.Itoa(mainPID(t))); owner != "ovs-erspan" {
		t.Errorf("the daemon is %s's", owner)
	}
	if owner := lockOwner(t); owner != "root" {
		t.Errorf("the lock is %s's", owner)
	}
	// What the daemon makes, where somebody removed it, is taken by commands of root's.
	run(t, "systemctl", "stop", unit)
	run(t, "chown", "ovs-erspan", "/run/openvswitch/ovs-erspan.lock")
	run(t, "ovs-erspan", "run", "--once")
	run(t, "systemctl", "start", unit)
	ready(t, metricsAddress)
}

// logged: every line of the daemon in the journal is JSON, and the journal knows its level. What else there is are the
// stacks of the process that the watchdog aborted.
func logged(t *testing.T, hung int) {
	all := journal(t)
	if len(all) == 0 {
		t.Fatal("nothing in the journal")
	}
	priority := map[string]string{"DEBUG": "7", "INFO": "6", "WARN": "4", "ERROR": "3"}
	seen, aborted := map[string]int{}, false
	for _, e := range all {
		if e.PID == strconv.Itoa(hung) && !strings.HasPrefix(e.Message, "{") {
			aborted = aborted || strings.Contains(e.Message, "SIGABRT")
			continue
		}
		var line struct{ Time, Level, Msg string }
		if err := json.Unmarshal([]byte(e.Message), &line); err != nil || line.Time == "" || line.Msg == "" {
			t.Errorf("%v: %q", err, e.Message)
			continue
		}
		seen[line.Level]++
		if e.Priority != priority[line.Level] {
			t.Errorf("priority %s of %s", e.Priority, e.Message)
		}
		if e.Identifier != "ovs-erspan" {
			t.Errorf("identifier %s", e.Identifier)
		}
	}
	t.Logf("lines by level: %v", seen)
	if !aborted || seen["WARN"] == 0 {
		t.Errorf("no stacks of process %d (%v), or no warning of the time without Open vSwitch", hung, aborted)
	}
}

// purge: the daemon ends, sessions stay in force for they are Open vSwitch's, and of the package nothing is left.
func purge(t *testing.T, before []string) {
	pid := mainPID(t)
	run(t, "ovs-erspan", "session", "remove", "short") // else its pair of devices is left as well, as it should be
	run(t, "apt-get", "purge", "--yes", "ovs-erspan")
	gone(t, pid, before)
	run(t, "id", "ovs-erspan") // users of the system stay, as Debian has it
	c := startCapture(t)
	pings(t, 10)
	c.copies("after the purge", echo(8, 100), 10)
}

// redHat: the rpm on a machine where Open vSwitch's directory and sockets are another user's, as Red Hat's packages have it.
// It leaves starting to the administrator, as there; with CAP_DAC_OVERRIDE, and not without, the unit works; upgrading restarts
// it, erasing ends it.
func redHat(t *testing.T, rpm string, before []string) {
	const rundir = "/run/openvswitch"
	run(t, "chown", "--recursive", "nobody:nogroup", rundir)
	run(t, "chmod", "--recursive", "u=rwX,g=rX,o=", rundir)
	// Debian has another name for what it depends on.
	run(t, "rpm", "--install", "--nodeps", rpm)
	if state, enabled := property(t, "ActiveState"), property(t, "UnitFileState"); state != "inactive" || enabled != "enabled" {
		t.Errorf("installed, it is %s and %s; want inactive and, by Debian's presets, enabled", state, enabled)
	}
	run(t, "systemctl", "start", unit)
	ready(t, metricsAddress)
	active(t, "whole")
	t.Run("without the capability", func(t *testing.T) {
		configure(t, "less.conf", "[Service]\nCapabilityBoundingSet=\nCapabilityBoundingSet=CAP_NET_ADMIN\nAmbientCapabilities=\nAmbientCapabilities=CAP_NET_ADMIN\n")
		notReady(t)
	})
	ready(t, metricsAddress)

	was := mainPID(t)
	run(t, "rpm", "--upgrade", "--force", "--nodeps", rpm)
	ready(t, metricsAddress)
	pid := mainPID(t)
	if pid == was {
		t.Error("upgraded, the old daemon runs still")
	}
	run(t, "rpm", "--erase", "ovs-erspan")
	gone(t, pid, before)
}

// gone: neither the daemon runs nor is anything left of the package.
func gone(t *testing.T, pid int, before []string) {
	t.Helper()
	if _, err := os.Stat(fmt.Sprintf("/proc/%d", pid)); err == nil {
		t.Errorf("the daemon (process %d) is there still", pid)
	}
	if out := property(t, "LoadState"); out != "not-found" {
		t.Errorf("the unit is %s", out)
	}
	var left []string
	for _, path := range files(t) {
		if !slices.Contains(before, path) {
			left = append(left, path)
		}
	}
	if left != nil {
		t.Errorf("left of the package: %s", strings.Join(left, "\n"))
	}
}

// files lists those of the machine that a package might leave behind, and directories if they are ours by name: others
// belong to whoever comes first.
func files(t *testing.T) (all []string) {
	t.Helper()
	home, err := os.UserHomeDir()
	if err != nil {
		t.Fatal(err)
	}
	for _, root := range []string{"/etc", "/usr", "/lib/systemd", "/var", "/run", "/opt", "/srv", home} {
		err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
			switch path {
			case "/var/log", "/var/cache", "/var/lib/dpkg", "/var/lib/apt", "/var/lib/systemd", "/run/systemd", "/run/netns", "/var/lib/rpm", home + "/.rpmdb", scratch:
				return fs.SkipDir
			}
			// Open vSwitch's own come and go, and a session is left.
			if os.IsNotExist(err) || filepath.Dir(path) == "/run/openvswitch" && !strings.HasPrefix(filepath.Base(path), "ovs-erspan") {
				return nil
			}
			if err == nil && (!entry.IsDir() || strings.Contains(entry.Name(), "erspan")) {
				all = append(all, path)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return all
}
