//go:build linux

package e2e

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ovs-erspan/ovs-erspan/e2e/lab"
)

// server is the process that listens at a bridge's OpenFlow socket, by the kernel's word; 0 where nobody does.
func (s *scene) server(bridge string) (pid int) {
	s.t.Helper()
	conn, err := net.Dial("unix", filepath.Join(s.host.RunDir(), bridge+".mgmt"))
	if err != nil {
		return 0
	}
	defer conn.Close()
	raw, err := conn.(*net.UnixConn).SyscallConn()
	s.must(err)
	s.must(raw.Control(func(fd uintptr) {
		var who *unix.Ucred
		if who, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil {
			pid = int(who.Pid)
		}
	}))
	s.must(err)
	return pid
}

// TestStartsOfTheField: however ovs-vswitchd was started and whatever former processes have left, a session copies, and doctor
// names the process that serves the bridges.
func TestStartsOfTheField(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	dir := s.host.RunDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	write := func(name string, pid int) { s.must(os.WriteFile(at(name), []byte(strconv.Itoa(pid)+"\n"), 0o600)) }
	dead := func(name string) {
		l, err := net.Listen("unix", at(name))
		s.must(err)
		l.(*net.UnixListener).SetUnlinkOnClose(false)
		s.must(l.Close())
	}
	// In a container the run directory is mounted somewhere, and processes have numbers of their own.
	inside, outside := t.TempDir(), t.TempDir()
	mounted := []string{"unshare", "--mount", "--pid", "--fork", "--kill-child", "/bin/sh", "-c", `mount --bind "$0" "$1" && export OVS_RUNDIR="$1" && shift && exec "$@"`}
	ours := os.Getpid()
	for _, v := range []struct {
		name   string
		as     lab.VswitchdStart
		before func() // what lies there already
		flags  []string
	}{
		{name: "without a pidfile"},
		{name: "control socket by name", as: lab.VswitchdStart{Options: []string{"--pidfile", "--unixctl=odd"}, Control: at("odd")}},
		{name: "control socket by path", as: lab.VswitchdStart{Options: []string{"--pidfile", "--unixctl=" + at("ctl")}, Control: at("ctl")}},
		{name: "control socket elsewhere", as: lab.VswitchdStart{Options: []string{"--unixctl=" + filepath.Join(outside, "c")}, Control: filepath.Join(outside, "c")},
			flags: []string{"--vswitchd-ctl", filepath.Join(outside, "c")}},
		{name: "in a process namespace", as: lab.VswitchdStart{Within: []string{"unshare", "--pid", "--fork", "--kill-child"},
			Options: []string{"--pidfile"}, Control: at("ovs-vswitchd.1.ctl")}},
		{name: "in a container", as: lab.VswitchdStart{Within: append(mounted, dir, inside), RunDir: inside,
			Options: []string{"--pidfile=" + filepath.Join(inside, "ovs-vswitchd.pid")}, Control: at("ovs-vswitchd.1.ctl")}},
		{name: "former processes' sockets and pidfile", before: func() {
			write("ovs-vswitchd.pid", 999999)
			dead("ovs-vswitchd.999999.ctl")
			dead("ovs-vswitchd.1.ctl")
			dead("br-former.mgmt")
		}},
		{name: "a former process's number is another program's", before: func() {
			write("ovs-vswitchd.pid", ours)
			dead(fmt.Sprintf("ovs-vswitchd.%d.ctl", ours))
		}},
		{name: "and that listens there, and says nothing", before: func() {
			write("ovs-vswitchd.pid", ours)
			l, err := net.Listen("unix", at(fmt.Sprintf("ovs-vswitchd.%d.ctl", ours)))
			s.must(err)
			t.Cleanup(func() { l.Close() })
		}},
	} {
		t.Run(v.name, func(t *testing.T) {
			s := s.in(t)
			s.must(s.host.KillVswitchd(s.ctx))
			for _, pattern := range []string{"ovs-vswitchd*", "odd", "ctl"} {
				old, err := filepath.Glob(at(pattern))
				s.must(err)
				for _, file := range old {
					if !strings.HasSuffix(file, ".log") {
						s.must(os.Remove(file))
					}
				}
			}
			if v.before != nil {
				v.before()
			}
			s.must(s.host.StartVswitchdAs(s.ctx, v.as))
			s.worksAs(s.server("br0"), v.flags)
		})
	}

	t.Run("commands in a container", func(t *testing.T) {
		s := s.in(t)
		args := append(append(mounted, dir, inside), binary, "session", "list", "--ovs-rundir", inside)
		if out, stderr, err := s.host.Exec(s.ctx, args...); err != nil || stderr != "" || !strings.Contains(out, "Active") {
			t.Errorf("%s%s, %v", out, stderr, err)
		}
	})

	t.Run("another Open vSwitch in the same run directory", func(t *testing.T) {
		s := s.in(t)
		other, err := s.lab.Host(s.ctx, "h2")
		s.must(err)
		s.must(other.KillVswitchd(s.ctx))
		_, err = other.Vsctl(s.ctx, "--no-wait", "add-br", "br9", "--", "set", "bridge", "br9", "datapath_type="+lab.Datapath())
		s.must(err)
		pidfile := at("ovs-vswitchd.pid")
		second, err := other.Start(s.ctx, lab.Command{Env: []string{"OVS_RUNDIR=" + dir},
			Args: []string{"ovs-vswitchd", "unix:" + other.DBSocket(), "--disable-system", "--pidfile=" + pidfile + "2", "-vconsole:off"}})
		s.must(err)
		s.must(lab.Until(s.ctx, "it serves its bridge", func(context.Context) error {
			if pid := s.server("br9"); pid != second.PID() {
				return fmt.Errorf("process %d does", pid)
			}
			return nil
		}))
		s.must(os.Rename(pidfile+"2", pidfile))
		s.worksAs(s.host.VswitchdPID(), nil)
		// It is no stand-in for ours.
		s.must(s.host.KillVswitchd(s.ctx))
		found, code := s.doctor()
		if f := found["vswitchd"]; code != 1 || len(f) != 1 || f[0].Level != "failure" || strings.Contains(f[0].Saw, "answers") {
			t.Errorf("ours is dead: doctor exits with %d and says %+v", code, f)
		}
		if r := s.oe("session", "list"); r.code == 0 || strings.Contains(r.stdout, "Active") {
			t.Errorf("ours is dead: session list exits with %d: %s%s", r.code, r.stdout, r.stderr)
		}
		s.must(second.Kill(s.ctx))
	})
}

// in is the scene for a subtest, whose failures are its own.
func (s *scene) in(t testing.TB) *scene {
	sub := *s
	sub.t = t
	return &sub
}

// worksAs holds that a session copies, that nothing is complained of, and that doctor names that process.
func (s *scene) worksAs(pid int, flags []string) {
	s.t.Helper()
	with := func(args ...string) []string { return append(args, flags...) }
	for _, args := range [][]string{
		with("session", "add", "one", "--bridge", "br0", "--source", "vnet0", "--match", "icmp", "--collector", collectorAddr, "--may-exist"),
		with("run", "--once"), with("session", "list"),
	} {
		if r := s.oe(args...); r.code != 0 || strings.Contains(r.stderr, "socket") {
			s.t.Fatalf("%v: exit %d: %s%s", args, r.code, r.stdout, r.stderr)
		}
	}
	s.copies(1)
	found, _ := s.doctor(flags...)
	if f := found["vswitchd"]; pid == 0 || len(f) != 1 || f[0].Level != "ok" || !strings.Contains(f[0].Saw, fmt.Sprintf("process %d,", pid)) {
		s.t.Errorf("process %d serves the bridges; doctor says %+v", pid, f)
	}
}
