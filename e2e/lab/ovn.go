//go:build linux

package lab

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Central is a machine with OVN's central part: its two databases, and northd between them. OVN's programs and schemas are
// those in PATH (scripts/ovs-root.sh SUITE ovn).
type Central struct {
	*Node
	dir string
}

// southPort is where hosts reach the southbound database.
const southPort = 6642

// Central makes a machine for OVN's central part. Start it when it has its address.
func (l *Lab) Central(ctx context.Context, name string) (*Central, error) {
	n, err := l.newNode(ctx, name, "central")
	if err != nil {
		return nil, fmt.Errorf("central %q: %w", name, err)
	}
	c := &Central{Node: n, dir: filepath.Join(l.dir, name)}
	n.env = dirEnv(c.dir)
	return c, os.Mkdir(c.dir, 0o755)
}

// dirEnv moves every directory of Open vSwitch and OVN.
func dirEnv(dir string) (env []string) {
	for _, name := range []string{"RUNDIR", "LOGDIR", "DBDIR", "SYSCONFDIR"} {
		env = append(env, "OVS_"+name+"="+dir, "OVN_"+name+"="+dir)
	}
	return env
}

// Serve starts the databases and northd, and waits until they have done a first turn.
func (c *Central) Serve(ctx context.Context) error {
	ctx, cancel := bounded(ctx, toolTimeout)
	defer cancel()
	for _, db := range []string{"nb", "sb"} {
		file := filepath.Join(c.dir, db+".db")
		if _, _, err := c.Exec(ctx, "ovsdb-tool", "create", file, shareFile("ovn/ovn-"+db+".ovsschema")); err != nil {
			return err
		}
		args := []string{"ovsdb-server", "--remote=punix:" + c.socket(db), "--unixctl=" + filepath.Join(c.dir, db+".ctl"),
			"--log-file=" + filepath.Join(c.dir, db+".log"), "-vconsole:off", file}
		if db == "sb" {
			args = append(args, fmt.Sprintf("--remote=ptcp:%d:%s", southPort, c.Addr()))
		}
		if _, err := c.Start(ctx, Command{Args: args, Dir: "/"}); err != nil {
			return err
		}
	}
	_, err := c.Start(ctx, Command{Dir: "/", Args: []string{"ovn-northd", "--ovnnb-db=unix:" + c.socket("nb"), "--ovnsb-db=unix:" + c.socket("sb"),
		"--unixctl=" + filepath.Join(c.dir, "northd.ctl"), "--log-file", "-vconsole:off"}})
	if err != nil {
		return err
	}
	return Until(ctx, "OVN's databases answer", func(ctx context.Context) error {
		_, err := c.Nbctl(ctx, "--wait=sb", "init")
		return err
	})
}

func (c *Central) socket(db string) string { return filepath.Join(c.dir, db+".sock") }

// Nbctl runs ovn-nbctl on the northbound database.
func (c *Central) Nbctl(ctx context.Context, args ...string) (string, error) {
	return c.ctl(ctx, "nb", args...)
}

// Sbctl runs ovn-sbctl on the southbound database.
func (c *Central) Sbctl(ctx context.Context, args ...string) (string, error) {
	return c.ctl(ctx, "sb", args...)
}

func (c *Central) ctl(ctx context.Context, db string, args ...string) (string, error) {
	ctx, cancel := bounded(ctx, toolTimeout)
	defer cancel()
	out, _, err := c.Exec(ctx, append([]string{"ovn-" + db + "ctl", "--db=unix:" + c.socket(db)}, args...)...)
	return out, err
}

// Sync waits until each host's ovn-controller has done what the northbound database says.
func (c *Central) Sync(ctx context.Context) error {
	_, err := c.Nbctl(ctx, "--wait=hv", "sync")
	return err
}

// JoinOVN makes a host a chassis, by its own name: tunnels from its address encap, and bridges of the lab's datapath.
// ovn-controller makes the bridge br-int.
func (h *Host) JoinOVN(ctx context.Context, c *Central, encap netip.Addr) error {
	_, err := h.Vsctl(ctx, "set", "Open_vSwitch", ".", "external_ids:system-id="+h.Name(),
		fmt.Sprintf("external_ids:ovn-remote=\"tcp:%s:%d\"", c.Addr(), southPort), "external_ids:ovn-encap-type=geneve",
		"external_ids:ovn-encap-ip="+encap.String(), "external_ids:ovn-bridge-datapath-type="+h.lab.datapath)
	if err != nil {
		return err
	}
	if err := h.StartOVNController(ctx); err != nil {
		return err
	}
	return Until(ctx, "ovn-controller has made br-int", func(ctx context.Context) error {
		_, err := h.Vsctl(ctx, "br-exists", "br-int")
		return err
	})
}

// StartOVNController starts ovn-controller, and waits until it takes commands.
func (h *Host) StartOVNController(ctx context.Context) error {
	return h.startDaemon(ctx, &h.ovn, func(ctx context.Context) error {
		_, err := h.OVNAppctl(ctx, "version")
		return err
	}, "ovn-controller", "unix:"+h.DBSocket(), "--pidfile", "--log-file", "-vconsole:off")
}

// StopOVNController asks ovn-controller to exit, with options such as --restart, and waits until it has.
func (h *Host) StopOVNController(ctx context.Context, options ...string) error {
	p := h.daemon(&h.ovn)
	if p == nil {
		return fmt.Errorf("%s: ovn-controller does not run", h)
	}
	if _, err := h.OVNAppctl(ctx, append([]string{"exit"}, options...)...); err != nil {
		return err
	}
	ctx, cancel := bounded(ctx, toolTimeout)
	defer cancel()
	return p.Wait(ctx)
}

// OVNAppctl runs ovn-appctl on the host's ovn-controller.
func (h *Host) OVNAppctl(ctx context.Context, args ...string) (string, error) {
	return h.tool(ctx, append([]string{"ovn-appctl", "-t", "ovn-controller"}, args...)...)
}

// OVNLog is what ovn-controller has logged so far.
func (h *Host) OVNLog() string {
	b, err := os.ReadFile(filepath.Join(h.runDir, "ovn-controller.log"))
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// OVNRecomputes is how often each part of ovn-controller's work was done anew as a whole, by its own count.
func (h *Host) OVNRecomputes(ctx context.Context) (map[string]int, error) {
	out, err := h.OVNAppctl(ctx, "inc-engine/show-stats")
	if err != nil {
		return nil, err
	}
	counts := map[string]int{}
	part := ""
	for line := range strings.Lines(out) {
		f := strings.Fields(strings.ReplaceAll(line, ":", " "))
		switch {
		case strings.HasPrefix(line, "Node: ") && len(f) == 2:
			part = f[1]
		case len(f) == 3 && f[0] == "-" && f[1] == "recompute":
			n, err := strconv.Atoi(f[2])
			if err != nil {
				return nil, fmt.Errorf("%s: ovn-controller's counts: %q: %w", h, line, err)
			}
			counts[part] = n
		}
	}
	if len(counts) == 0 {
		return nil, errors.New("ovn-controller tells no counts: " + out)
	}
	return counts, nil
}
