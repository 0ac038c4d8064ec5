//go:build linux && systemd

package systemd

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// scratch is where scripts/test-systemd.sh puts what the tests need. That it is there tells that this is their machine.
const scratch = "/srv/ovs-erspan-test"

// patience is how long a test waits for a condition: far longer than it takes, for an emulated machine is slow.
const patience = 2 * time.Minute

func TestMain(m *testing.M) {
	if victim := os.Getenv(asAttacker); victim != "" {
		if err := attack(victim); err != nil {
			fmt.Fprintln(os.Stderr, "systemd: attack:", err)
			os.Exit(1)
		}
		return
	}
	if _, err := os.Stat(scratch); err != nil {
		fmt.Fprintln(os.Stderr, "systemd: these tests change the machine they run on: scripts/test-systemd.sh boots one for them")
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// datapath is netdev (userspace) or system (the kernel's).
func datapath(t *testing.T) string {
	t.Helper()
	name, err := os.ReadFile(filepath.Join(scratch, "datapath"))
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(name))
}

// try runs a program as a shell of root would. The error holds what it said.
func try(args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Stderr = &stderr
	cmd.WaitDelay = time.Second
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("%s: %w: %s%s", strings.Join(args, " "), err, out, stderr.String())
	}
	return strings.TrimSpace(string(out)), err
}

// run runs a program that has to succeed.
func run(t *testing.T, args ...string) string {
	t.Helper()
	out, err := try(args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// wait waits for a condition.
func wait(t *testing.T, what string, condition func() error) {
	t.Helper()
	if err := until(condition); err != nil {
		log, _ := try("journalctl", "--no-pager", "--unit", unit, "--lines", "40", "--output", "cat")
		t.Fatalf("%s: %v\nthe unit's journal ends:\n%s", what, err, log)
	}
}

func until(condition func() error) error {
	for end := time.Now().Add(patience); ; time.Sleep(100 * time.Millisecond) {
		err := condition()
		if err == nil {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("not within %v: %w", patience, err)
		}
	}
}

const unit = "ovs-erspan.service"

// property is what systemd says of the unit.
func property(t *testing.T, name string) string {
	t.Helper()
	return run(t, "systemctl", "show", "--value", "--property", name, unit)
}

func mainPID(t *testing.T) int {
	t.Helper()
	pid, err := strconv.Atoi(property(t, "MainPID"))
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

// configure gives the unit a drop-in file, which goes with the test, and restarts it.
func configure(t *testing.T, name, text string) {
	t.Helper()
	dir := filepath.Join("/etc/systemd/system", unit+".d")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
		restart(t)
	})
	restart(t)
}

func restart(t *testing.T) {
	t.Helper()
	run(t, "systemctl", "daemon-reload")
	run(t, "systemctl", "reset-failed", unit) // so many starts in so short a time are the tests' own
	run(t, "systemctl", "restart", unit)
}

const metricsAddress = "127.0.0.1:9475" // the unit's own

// get fetches a page of the daemon.
func get(address, path string) (code int, body string, err error) {
	client := http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Get("http://" + address + path)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	return response.StatusCode, string(text), err
}

// ready waits until the daemon has everything in force.
func ready(t *testing.T, address string) {
	t.Helper()
	wait(t, "the daemon is ready", func() error {
		code, body, err := get(address, "/readyz")
		if err == nil && code != http.StatusOK {
			err = fmt.Errorf("/readyz: %d %s", code, body)
		}
		return err
	})
}

// notReady waits until the daemon, started a moment ago, says that it has not everything in force.
func notReady(t *testing.T) {
	t.Helper()
	wait(t, "the daemon serves", func() error { _, _, err := get(metricsAddress, "/healthz"); return err })
	if code, body, err := get(metricsAddress, "/readyz"); err != nil || code != http.StatusServiceUnavailable {
		t.Errorf("/readyz: %d %s %v, want 503", code, body, err)
	}
}

// entry is a line of the unit's journal.
type entry struct {
	Message    string `json:"MESSAGE"`
	Priority   string `json:"PRIORITY"`
	Identifier string `json:"SYSLOG_IDENTIFIER"`
	PID        string `json:"_PID"`
}

func journal(t *testing.T) (all []entry) {
	t.Helper()
	// Only the unit's own lines, not systemd's about it.
	out := run(t, "journalctl", "--no-pager", "--output", "json", "_SYSTEMD_UNIT="+unit)
	for line := range strings.Lines(out) {
		var e entry
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		all = append(all, e)
	}
	return all
}

// capture is a tcpdump in the collector's namespace.
type capture struct {
	t    *testing.T
	file string
	cmd  *exec.Cmd
	said *bytes.Buffer
}

func startCapture(t *testing.T) *capture {
	t.Helper()
	c := &capture{t: t, file: filepath.Join(t.TempDir(), "pcap"), said: new(bytes.Buffer)}
	c.cmd = exec.Command("ip", "netns", "exec", "collector", "tcpdump", "--immediate-mode", "-U", "-n", "-Z", "root", "-i", "eth0", "-w", c.file, "ip proto 47")
	c.cmd.Stderr = c.said
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.stop)
	// It writes the file's header when it captures.
	wait(t, "tcpdump captures", func() error {
		if st, err := os.Stat(c.file); err != nil || st.Size() == 0 {
			return errors.Join(errors.New("no file"), err)
		}
		return nil
	})
	return c
}

func (c *capture) stop() {
	if c.cmd.ProcessState == nil {
		_ = c.cmd.Process.Kill()
		_ = c.cmd.Wait()
	}
}

// count is how many packets of the file tcpdump finds by a filter.
func (c *capture) count(filter string) (int, error) {
	out, err := try("tcpdump", "-n", "-t", "-r", c.file, filter)
	if err != nil {
		return 0, err
	}
	if out == "" {
		return 0, nil
	}
	return strings.Count(out, "\n") + 1, nil
}

// copies waits until as many packets have come as wanted, and no more.
func (c *capture) copies(what, filter string, want int) {
	c.t.Helper()
	wait(c.t, what, func() error {
		n, err := c.count(filter)
		if err == nil && n < want {
			err = fmt.Errorf("%d copies, want %d", n, want)
		}
		return err
	})
	if n, err := c.count(filter); err != nil || n != want {
		c.t.Errorf("%s: %d copies, want %d: %v", what, n, want, err)
	}
}
