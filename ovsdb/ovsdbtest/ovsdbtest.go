// Package ovsdbtest runs private Open vSwitch daemons for tests: an ovsdb-server of its own in a temporary folder and, on
// request, an ovs-vswitchd with the dummy datapath. Neither needs privileges, a namespace or the network, and neither
// touches the Open vSwitch of the host. The bridges of a test have datapath_type=dummy and ports of type dummy.
package ovsdbtest

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

const (
	schema = "/usr/share/openvswitch/vswitch.ovsschema"
	// patience bounds the waiting for a condition.
	patience = 20 * time.Second
)

// Server is a private ovsdb-server, and perhaps an ovs-vswitchd. Both end with the test.
type Server struct {
	// RunDir is the run directory, for ovsdb.Connect and for --ovs-rundir.
	RunDir string

	tb       testing.TB
	database *exec.Cmd
	vswitchd *exec.Cmd
}

// Options are what a test may want otherwise. The zero value is the usual.
type Options struct {
	// Dir is the run directory, made if it is not there; "" means a new one with a short path.
	Dir string
	// EditSchema changes the text of Open vSwitch's database schema.
	EditSchema func(string) string
	// NoInit leaves the database without a row, as before "ovs-vsctl init".
	NoInit bool
}

// Start runs ovsdb-server with a database as "ovs-vsctl init" leaves it. It skips the test where Open vSwitch is not
// installed, and fails it in CI.
func Start(tb testing.TB) *Server {
	tb.Helper()
	return StartWith(tb, Options{})
}

// StartWith is Start with options.
func StartWith(tb testing.TB, o Options) *Server {
	tb.Helper()
	for _, name := range []string{"ovsdb-tool", "ovsdb-server", "ovs-vswitchd", "ovs-vsctl"} {
		if _, err := exec.LookPath(name); err != nil {
			if os.Getenv("CI") == "true" {
				tb.Fatalf("Open vSwitch is not installed: %v", err)
			}
			tb.Skipf("Open vSwitch is not installed: %v", err)
		}
	}
	dir := o.Dir
	if dir == "" {
		// Not tb.TempDir: with the test's name in it, a socket's path can become too long.
		var err error
		if dir, err = os.MkdirTemp("", "ovsdbtest"); err != nil {
			tb.Fatal(err)
		}
		tb.Cleanup(func() { os.RemoveAll(dir) })
	}
	must := func(err error) {
		tb.Helper()
		if err != nil {
			tb.Fatal(err)
		}
	}
	must(os.MkdirAll(dir, 0o755))
	text, err := os.ReadFile(schema)
	must(err)
	if o.EditSchema != nil {
		text = []byte(o.EditSchema(string(text)))
	}
	must(os.WriteFile(filepath.Join(dir, "schema"), text, 0o644))
	s := &Server{RunDir: dir, tb: tb}
	s.Run("ovsdb-tool", "create", filepath.Join(dir, "conf.db"), filepath.Join(dir, "schema"))
	s.StartDatabase()
	if !o.NoInit {
		s.Vsctl("init")
	}
	return s
}

// StartDatabase runs ovsdb-server again after KillDatabase, with more options if there are any.
func (s *Server) StartDatabase(more ...string) {
	s.tb.Helper()
	socket := filepath.Join(s.RunDir, "db.sock")
	os.Remove(socket)
	s.database = s.daemon("ovsdb-server", append(more, filepath.Join(s.RunDir, "conf.db"), "--remote=punix:"+socket,
		"--unixctl="+filepath.Join(s.RunDir, "ovsdb-server.ctl"))...)
	dir, err := os.Open(s.RunDir)
	if err != nil {
		s.tb.Fatal(err)
	}
	defer dir.Close()
	short := fmt.Sprintf("/proc/self/fd/%d/db.sock", dir.Fd()) // whatever the length of the path
	Eventually(s.tb, "ovsdb-server listens", func() bool {
		conn, err := net.Dial("unix", short)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
}

// KillDatabase ends ovsdb-server with SIGKILL.
func (s *Server) KillDatabase() { kill(s.database) }

// SignalDatabase sends ovsdb-server a signal, such as SIGSTOP.
func (s *Server) SignalDatabase(signal syscall.Signal) {
	s.tb.Helper()
	if err := s.database.Process.Signal(signal); err != nil {
		s.tb.Fatal(err)
	}
}

// StartVswitchd runs ovs-vswitchd with the dummy datapath, and returns when it serves the database.
func (s *Server) StartVswitchd() {
	s.tb.Helper()
	s.vswitchd = s.daemon("ovs-vswitchd", "unix:"+filepath.Join(s.RunDir, "db.sock"), "--enable-dummy", "--disable-system",
		"--pidfile="+filepath.Join(s.RunDir, "ovs-vswitchd.pid")) // by which its control socket is found
	// ovs-vsctl waits for ovs-vswitchd when something changes.
	s.Vsctl("--wait", "add-br", "ovsdbtest", "--", "set", "bridge", "ovsdbtest", "datapath_type=dummy")
	s.Vsctl("--wait", "del-br", "ovsdbtest")
}

// KillVswitchd ends ovs-vswitchd with SIGKILL.
func (s *Server) KillVswitchd() { kill(s.vswitchd) }

// SignalVswitchd sends ovs-vswitchd a signal, such as SIGSTOP.
func (s *Server) SignalVswitchd(signal syscall.Signal) {
	s.tb.Helper()
	if err := s.vswitchd.Process.Signal(signal); err != nil {
		s.tb.Fatal(err)
	}
}

// Remote is the database's address as OVS's tools take it.
func (s *Server) Remote() string { return "unix:" + filepath.Join(s.RunDir, "db.sock") }

// Vsctl runs ovs-vsctl, without waiting for ovs-vswitchd unless args begin with "--wait", and returns what it prints.
func (s *Server) Vsctl(args ...string) string {
	s.tb.Helper()
	wait := "--no-wait"
	if len(args) > 0 && args[0] == "--wait" {
		wait, args = "--timeout=20", args[1:]
	}
	return s.Run("ovs-vsctl", append([]string{"--db=" + s.Remote(), wait}, args...)...)
}

// Dump is every row of the database as ovsdb-client prints it, with its UUID.
func (s *Server) Dump() string {
	s.tb.Helper()
	return s.Run("ovsdb-client", "--format=list", "dump", s.Remote(), "Open_vSwitch")
}

// Run runs a program with the environment of these daemons and returns what it prints.
func (s *Server) Run(name string, args ...string) string {
	s.tb.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env = s.environment()
	out, err := cmd.Output()
	if err != nil {
		text := ""
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			text = string(exit.Stderr)
		}
		s.tb.Fatalf("%s %s: %v: %s", name, strings.Join(args, " "), err, text)
	}
	return string(out)
}

func (s *Server) environment() []string {
	env := os.Environ()
	for _, variable := range []string{"OVS_RUNDIR", "OVS_LOGDIR", "OVS_DBDIR", "OVS_SYSCONFDIR"} {
		env = append(env, variable+"="+s.RunDir)
	}
	return env
}

// daemon starts a program in the foreground that logs into a file, and ends it with the test.
func (s *Server) daemon(name string, args ...string) *exec.Cmd {
	s.tb.Helper()
	args = append(args, "--no-chdir", "-vconsole:off", "-vsyslog:off", "--log-file="+filepath.Join(s.RunDir, name+".log"))
	cmd := exec.Command(name, args...)
	cmd.Env = s.environment()
	cmd.Dir = s.RunDir
	// Dies with the test program, also when that is killed.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		s.tb.Fatal(err)
	}
	s.tb.Cleanup(func() {
		kill(cmd)
		if s.tb.Failed() {
			log, _ := os.ReadFile(filepath.Join(s.RunDir, name+".log"))
			s.tb.Logf("%s:\n%s", name, tail(string(log)))
		}
	})
	return cmd
}

func tail(text string) string {
	lines := strings.SplitAfter(text, "\n")
	return strings.Join(lines[max(0, len(lines)-30):], "")
}

func kill(cmd *exec.Cmd) {
	if cmd == nil || cmd.ProcessState != nil {
		return
	}
	cmd.Process.Kill()
	cmd.Wait()
}

// Eventually waits until a condition is true.
func Eventually(tb testing.TB, what string, condition func() bool) {
	tb.Helper()
	for deadline := time.Now().Add(patience); !condition(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			tb.Fatalf("waited %v in vain: %s", patience, what)
		}
	}
}
