//go:build linux

package e2e

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ovs-erspan/ovs-erspan/e2e/lab"
)

// sh runs a program, which has to succeed, and returns what it printed.
func sh(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %v\n%s", args, err, out)
	}
	return string(out)
}

// TestPackages: the Debian package is installed into a root of its own, its unit is sound and confined, the program that
// it brings runs as the unit would run it, and it is purged without a trace. The RPM package holds the same.
func TestPackages(t *testing.T) {
	t.Parallel()
	dist, root := t.TempDir(), t.TempDir()
	pack := exec.Command("../scripts/package.sh", dist)
	pack.Env = append(os.Environ(), "VERSION=v9.8.7")
	if out, err := pack.CombinedOutput(); err != nil {
		t.Fatalf("package.sh: %v\n%s", err, out)
	}
	debs, _ := filepath.Glob(filepath.Join(dist, "*.deb"))
	rpms, _ := filepath.Glob(filepath.Join(dist, "*.rpm"))
	if len(debs) != 1 || len(rpms) != 1 {
		t.Fatalf("packages: %v %v", debs, rpms)
	}

	admin := filepath.Join(root, "var/lib/dpkg")
	for _, dir := range []string{"info", "updates", "triggers"} {
		if err := os.MkdirAll(filepath.Join(admin, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(admin, "status"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	dpkg := []string{"dpkg", "--root=" + root, "--force-script-chrootless", "--force-depends", "--log=/dev/null"}
	sh(t, append(dpkg, "--install", debs[0])...)
	var installed []string
	for _, path := range []string{
		"usr/bin/ovs-erspan", "lib/systemd/system/ovs-erspan.service", "lib/systemd/system/ovs-erspan-rundir.service", "usr/lib/sysusers.d/ovs-erspan.conf", "usr/share/man/man8/ovs-erspan-session-add.8.gz",
		"usr/share/bash-completion/completions/ovs-erspan", "usr/share/zsh/vendor-completions/_ovs-erspan", "usr/share/fish/vendor_completions.d/ovs-erspan.fish",
		"usr/share/doc/ovs-erspan/monitoring/grafana-dashboard.json",
	} {
		if _, err := os.Stat(filepath.Join(root, path)); err != nil {
			t.Errorf("not installed: %v", err)
		}
		installed = append(installed, path)
	}
	program := filepath.Join(root, "usr/bin/ovs-erspan")
	if out := sh(t, program, "version"); !strings.Contains(out, "9.8.7") {
		t.Errorf("version: %s", out)
	}

	// The unit: systemd takes it, and rates what it may do.
	unit := filepath.Join(root, "lib/systemd/system/ovs-erspan.service")
	text, err := os.ReadFile(unit)
	if err != nil {
		t.Fatal(err)
	}
	here := filepath.Join(t.TempDir(), "ovs-erspan.service") // with the program where it is now
	if err := os.WriteFile(here, []byte(strings.ReplaceAll(string(text), "/usr/bin/ovs-erspan", program)), 0o644); err != nil {
		t.Fatal(err)
	}
	verify := exec.Command("systemd-analyze", "verify", "--man=no", here)
	if out, err := verify.CombinedOutput(); err != nil || strings.Contains(string(out), here) {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
	rating := sh(t, "systemd-analyze", "security", "--offline=true", "--no-pager", here)
	found := regexp.MustCompile(`exposure level for \S+: (\d+\.\d+)`).FindStringSubmatch(rating)
	if found == nil {
		t.Fatalf("systemd-analyze security: %s", rating)
	}
	if level, _ := strconv.ParseFloat(found[1], 64); level > 2.5 {
		t.Errorf("exposure level %s, want at most 2.5:\n%s", found[1], rating)
	}

	t.Run("extcap", func(t *testing.T) { findsExtcap(t, root) })
	t.Run("start", func(t *testing.T) { startAsUnit(t, program, string(text)) })

	sh(t, append(dpkg, "--purge", "ovs-erspan")...)
	for _, path := range installed {
		if _, err := os.Stat(filepath.Join(root, path)); err == nil {
			t.Errorf("after purge there is still %s", path)
		}
	}
	var left []string
	err = filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		if path == admin {
			return filepath.SkipDir
		}
		if err == nil && !d.IsDir() {
			left = append(left, path)
		}
		return err
	})
	if err != nil || left != nil {
		t.Errorf("after purge there is still %v, %v", left, err)
	}

	var inDeb, inRPM []string
	for line := range strings.Lines(sh(t, "dpkg-deb", "--contents", debs[0])) {
		if f := strings.Fields(line); len(f) > 5 && !strings.HasSuffix(f[5], "/") {
			inDeb = append(inDeb, filepath.Base(f[5]))
		}
	}
	for line := range strings.Lines(sh(t, "rpm", "-qlp", "--noartifact", "--nosignature", "--qf", "[%{FILEMODES:perms} %{FILENAMES}\n]", rpms[0])) {
		if f := strings.Fields(line); len(f) == 2 && !strings.HasPrefix(f[0], "d") {
			inRPM = append(inRPM, filepath.Base(f[1]))
		}
	}
	slices.Sort(inDeb)
	slices.Sort(inRPM)
	if diff := cmp.Diff(inDeb, inRPM); diff != "" {
		t.Errorf("the packages hold different files (-deb +rpm):\n%s", diff)
	}
}

// findsExtcap: tshark looks for extcap programs where the package, installed below root, puts ours. What it installs there is
// laid over that folder, where only this tshark sees it.
func findsExtcap(t *testing.T, root string) {
	folder := regexp.MustCompile(`(?m)^(?:Global )?Extcap path:\s+(\S+)$`).FindStringSubmatch(sh(t, "tshark", "-G", "folders"))
	if folder == nil {
		t.Fatalf("tshark has no folder for extcap programs: %s", sh(t, "tshark", "-G", "folders"))
	}
	const erspan = "erspan (ERSPAN"
	if out := sh(t, "tshark", "-D"); strings.Contains(out, erspan) {
		t.Fatalf("this machine's tshark has an interface ERSPAN already: %s", out)
	}
	out := sh(t, "unshare", "--mount", "sh", "-c", `mount --bind "$0$1" "$1" && exec tshark -D`, root, folder[1])
	if !strings.Contains(out, erspan) {
		t.Errorf("tshark -D with the package's %s: %s", folder[1], out)
	}
}

// startAsUnit runs the daemon as systemd would: told where to give notice, and with the capabilities of the unit alone. It
// is ready before Open vSwitch is, serves the watchdog, and does its work.
func startAsUnit(t *testing.T, program, unit string) {
	if !strings.Contains(unit, "\nCapabilityBoundingSet=CAP_NET_ADMIN CAP_DAC_OVERRIDE\n") {
		t.Fatal("the unit has other capabilities")
	}
	s := newScene(t)
	// /tmp, not t.TempDir: the path of a Unix socket is short.
	socket := filepath.Join(s.lab.Dir(), "notify")
	notices, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	s.must(err)
	defer notices.Close()
	// As systemd does, it reads whatever comes: who gives notice waits for room.
	told := make(chan string, 10_000)
	go func() {
		buffer := make([]byte, 4096)
		for {
			n, err := notices.Read(buffer)
			if err != nil {
				return // closed
			}
			select {
			case told <- string(buffer[:n]):
			default:
			}
		}
	}()
	expect := func(what string) {
		t.Helper()
		for {
			select {
			case notice := <-told:
				if strings.Contains(notice, what) {
					return
				}
			case <-s.ctx.Done():
				t.Fatalf("waiting for %s: %v", what, s.ctx.Err())
			}
		}
	}
	s.must(s.host.KillVswitchd(s.ctx))
	s.must(s.host.KillDB(s.ctx))
	p, err := s.host.Start(s.ctx, lab.Command{
		Args: []string{"setpriv", "--bounding-set=-all,+net_admin,+dac_override", "--inh-caps=-all", "--no-new-privs", program, "run", "-v", "--listen", "127.0.0.1:9475"},
		Env:  []string{"NOTIFY_SOCKET=" + socket, "WATCHDOG_USEC=300000"},
	})
	s.must(err)
	expect("READY=1") // without Open vSwitch, too
	if code, body, err := httpGet(s.host, "127.0.0.1:9475", "/healthz"); err != nil || code != 200 {
		t.Errorf("it is ready, and its health cannot be asked for: %d %s %v", code, body, err)
	}
	expect("WATCHDOG=1")
	s.must(s.host.StartDB(s.ctx))
	s.must(s.host.StartVswitchd(s.ctx))
	s.must(s.host.WaitReady(s.ctx))
	expect("STATUS=in force")
	s.appctl("tnl/neigh/flush")
	s.binary = program
	s.add("one", "--source", "vnet0") // it needs a next hop resolved: that is what CAP_NET_ADMIN is for
	s.copies(1)
	s.must(p.Stop(s.ctx))
	s.nothingToDo()
	if !strings.Contains(p.Stderr(), "ends") {
		t.Errorf("the daemon's end:\n%s", tail(p.Stderr(), 20))
	}

	// CAP_NET_ADMIN is needed: without it no next hop is resolved.
	s.ok("session", "remove", "one")
	s.must(lab.Until(s.ctx, "the kernel knows no neighbour", func(ctx context.Context) error {
		if _, _, err := s.host.Exec(ctx, "ip", "neigh", "flush", "dev", "br-ul"); err != nil {
			return err
		}
		out, _, err := s.host.Exec(ctx, "ip", "neigh", "show", "dev", "br-ul", "nud", "reachable")
		if err == nil && out != "" {
			err = fmt.Errorf("it knows %s", out)
		}
		return err
	}))
	s.appctl("tnl/neigh/flush")
	p, err = s.host.Start(s.ctx, lab.Command{Args: []string{"setpriv", "--bounding-set=-all", "--inh-caps=-all", program, "run", "-v"}})
	s.must(err)
	defer p.Stop(s.ctx)
	d := &daemon{p, s}
	d.ready()
	s.oe("session", "add", "two", "--bridge", "br0", "--source", "vnet0", "--collector", collectorAddr)
	d.logged("operation not permitted")
}
