//go:build linux && systemd

package systemd

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// The attacks of somebody who has taken over the daemon. This program runs them itself, as a unit that has everything of the
// daemon's but its program, and once more as root without a sandbox, where each works: else it would prove nothing.

// asAttacker is set where this program is the attacker; it holds the number of a process of root's.
const asAttacker = "OVS_ERSPAN_ATTACK"

// secrets are files of root's that nobody else may read.
var secrets = []string{
	scratch + "/secret", "/var/lib/secret", "/opt/secret", "/mnt/secret", "/root/secret", "/home/secret", "/dev/shm/secret", "/etc/secret",
}

// sockets are those of programs that do what root may do for whoever may connect.
var sockets = []string{
	"/run/systemd/private", "/run/systemd/io.system.ManagedOOM", "/run/dbus/system_bus_socket", "/run/docker.sock", "/run/containerd/containerd.sock",
	"/run/podman/podman.sock", "/run/crio/crio.sock", "/run/libvirt/libvirt-sock", "/var/lib/lxd/unix.socket",
}

// attacks are what must fail, by name; each returns nil where it works.
func attacks(victim int) map[string]func() error {
	all := map[string]func() error{
		"setuid":         func() error { return syscall.Setuid(0) },
		"signal":         func() error { return syscall.Kill(victim, 0) },
		"trace":          func() error { return trace(victim) },
		"memory":         func() error { return open(fmt.Sprintf("/proc/%d/mem", victim)) },
		"environment":    func() error { return open(fmt.Sprintf("/proc/%d/environ", victim)) },
		"another's root": func() error { return open(fmt.Sprintf("/proc/%d/root/etc/shadow", victim)) },
		"mount": func() error {
			return errors.Join(syscall.Mount("tmpfs", "/tmp", "tmpfs", 0, ""), syscall.Unmount("/tmp", 0))
		},
		"namespace": func() error {
			return program("/usr/bin/true", &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS})
		},
		"sniff":  sniff,
		"kernel": func() error { return rewrite("/proc/sys/net/ipv4/ip_forward") },
		"cgroup": func() error {
			return errors.Join(os.Mkdir("/sys/fs/cgroup/attack", 0o755), os.Remove("/sys/fs/cgroup/attack"))
		},
		"run what is new":  func() error { return runNew("/run/openvswitch/attack") },
		"run from /tmp":    func() error { return runNew("/tmp/attack") },
		"read /etc/shadow": func() error { return open("/etc/shadow") },
	}
	for _, path := range []string{"/run/systemd/system", "/etc/systemd/system", "/usr/lib/systemd/system", "/usr/bin", "/etc", "/var/lib", "/run", "/", "/dev/shm"} {
		all["write "+path] = func() error {
			path = filepath.Join(path, "attack.service")
			return errors.Join(os.WriteFile(path, []byte("[Service]\nExecStart=/usr/bin/true\n"), 0o644), os.Remove(path))
		}
	}
	for _, path := range secrets {
		all["read "+path] = func() error { return open(path) }
	}
	for _, path := range sockets {
		all["connect "+path] = func() error { return connect(path) }
	}
	return all
}

// needs are what the daemon lives of, and must work.
var needs = map[string]func() error{
	"database":                 func() error { return connect("/run/openvswitch/db.sock") },
	"bridge":                   func() error { return connect("/run/openvswitch/br0.mgmt") },
	"the same by its old name": func() error { return connect("/var/run/openvswitch/db.sock") },
	"ovs-ofctl": func() error {
		return program("/usr/bin/ovs-ofctl", nil, "dump-ports", "unix:/run/openvswitch/br0.mgmt")
	},
}

func open(path string) error {
	f, err := os.Open(path)
	if err == nil {
		f.Close()
	}
	return err
}

func connect(path string) error {
	conn, err := net.Dial("unix", path)
	if err == nil {
		conn.Close()
	}
	return err
}

func program(path string, attr *syscall.SysProcAttr, args ...string) error {
	cmd := exec.Command(path, args...)
	cmd.SysProcAttr = attr
	out, err := cmd.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%w: %s", err, out)
	}
	return err
}

func trace(pid int) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := syscall.PtraceAttach(pid); err != nil {
		return err
	}
	if _, err := syscall.Wait4(pid, nil, 0, nil); err != nil {
		return err
	}
	return syscall.PtraceDetach(pid)
}

func sniff() error {
	fd, err := syscall.Socket(syscall.AF_PACKET, syscall.SOCK_RAW, 0)
	if err == nil {
		syscall.Close(fd)
	}
	return err
}

func rewrite(path string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	return os.WriteFile(path, text, 0)
}

func runNew(path string) error {
	text, err := os.ReadFile("/usr/bin/true")
	if err == nil {
		err = os.WriteFile(path, text, 0o755)
	}
	if err != nil {
		return fmt.Errorf("it cannot even be written: %w", err)
	}
	defer os.Remove(path)
	return program(path, nil)
}

// attack does it all and prints, by name, how each failed: "" where it worked.
func attack(victim string) error {
	pid, err := strconv.Atoi(victim)
	if err != nil {
		return err
	}
	results := struct{ Attacks, Needs map[string]string }{map[string]string{}, map[string]string{}}
	text := func(err error) string {
		if err == nil {
			return ""
		}
		return err.Error()
	}
	for name, f := range attacks(pid) {
		results.Attacks[name] = text(f())
	}
	for name, f := range needs {
		results.Needs[name] = text(f())
	}
	return json.NewEncoder(os.Stdout).Encode(results)
}

// contained: whoever has taken over the daemon gets nowhere but to Open vSwitch.
func contained(t *testing.T) {
	victim := exec.Command("/usr/bin/sleep", "infinity")
	if err := victim.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = victim.Process.Kill(); _ = victim.Wait() })
	for _, path := range secrets {
		if err := os.WriteFile(path, []byte("secret"), 0o600); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { os.Remove(path) })
	}
	for _, path := range sockets {
		serveNobody(t, path)
	}
	file, err := os.ReadFile(property(t, "FragmentPath"))
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(scratch, "systemd.test")
	sandboxed := regexp.MustCompile(`(?m)^(ExecStart|Restart|RestartSec|WatchdogSec|Type)=.*\n`).ReplaceAllString(string(file), "")
	sandboxed = strings.Replace(sandboxed, "[Service]\n", "[Service]\nType=oneshot\nExecStart=/run/attacker\nBindReadOnlyPaths="+program+":/run/attacker\n", 1)
	for _, as := range []struct {
		name, unit string
		works      bool
	}{
		{"the daemon", sandboxed, false},
		{"root", "[Service]\nType=oneshot\nExecStart=" + program + "\n", true},
	} {
		output := filepath.Join(t.TempDir(), "output")
		if err := os.WriteFile(output, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		const name = "ovs-erspan-attack.service"
		place := filepath.Join("/run/systemd/system", name)
		text := strings.Replace(as.unit, "[Service]\n", fmt.Sprintf("[Service]\nStandardOutput=file:%s\nEnvironment=%s=%d\n", output, asAttacker, victim.Process.Pid), 1)
		if err := os.WriteFile(place, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		run(t, "systemctl", "daemon-reload")
		run(t, "systemctl", "start", name)
		if err := os.Remove(place); err != nil {
			t.Fatal(err)
		}
		run(t, "systemctl", "daemon-reload")
		printed, err := os.ReadFile(output)
		if err != nil {
			t.Fatal(err)
		}
		var got struct{ Attacks, Needs map[string]string }
		if err := json.Unmarshal(printed, &got); err != nil || len(got.Attacks) != len(attacks(0)) || len(got.Needs) != len(needs) {
			t.Fatalf("%s: %v: %s", as.name, err, printed)
		}
		for name, failed := range got.Attacks {
			if works := failed == ""; works != as.works {
				t.Errorf("%s, %s: works: %v: %s", as.name, name, works, failed)
			}
		}
		for name, failed := range got.Needs {
			if failed != "" {
				t.Errorf("%s, %s: %s", as.name, name, failed)
			}
		}
		t.Logf("%s: %d attacks", as.name, len(got.Attacks))
	}
}

// serveNobody puts a socket of root's in a place where nobody listens on this machine.
func serveNobody(t *testing.T, path string) {
	t.Helper()
	if connect(path) == nil {
		return
	}
	if _, err := os.Stat(filepath.Dir(path)); err != nil {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { os.Remove(filepath.Dir(path)) })
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	if err := os.Chmod(path, 0o600); err != nil {
		t.Fatal(err)
	}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return // closed
			}
			_, _ = io.Copy(io.Discard, conn)
			conn.Close()
		}
	}()
}
