package main

import (
	"strings"
	"testing"
)

// TestUninstallAsks: where nobody can be asked, uninstall wants --yes before it looks at Open vSwitch at all.
func TestUninstallAsks(t *testing.T) {
	for _, args := range [][]string{{"uninstall"}, {"uninstall", "-o", "json"}} {
		if code, _, said := runCLI(t, append(args, "--ovs-rundir", t.TempDir())...); code != exitRefused || !strings.Contains(said, "--yes") {
			t.Errorf("%q: exit %d, %s", args, code, said)
		}
	}
	for _, args := range [][]string{{"uninstall", "--yes"}, {"uninstall", "--dry-run"}} {
		if code, _, said := runCLI(t, append(args, "--ovs-rundir", t.TempDir())...); code != exitFailed || strings.Contains(said, "--yes") {
			t.Errorf("%q: exit %d, %s", args, code, said)
		}
	}
}
