//go:build linux

package lab

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// Host is a machine with an Open vSwitch of its own; its bridges have the lab's datapath (see [Datapath]), which
// AddBridge sets.
type Host struct {
	*Node
	runDir string
	mu     sync.Mutex // of what follows
	db     *Process
	vs     *Process
	ovn    *Process              // ovn-controller, see JoinOVN
	ctl    string                // where ovs-vswitchd is asked, if not at its usual socket
	ports  map[string]attachment // by port name
	nets   []underlay
	routes []hostRoute

	dpdkPorts int // that were made so far, see dpdk.go
}

type attachment struct {
	bridge string
	peer   *Node
	dev    string
	far    *Host // of which dev is a port; nil where dev is a guest's
}

type underlay struct {
	bridge string
	mtu    int
	addrs  []string
}

type hostRoute struct {
	dst string
	via netip.Addr
}

// Host makes a machine with a running Open vSwitch that has no bridge yet.
//
// Its run directory holds db.sock and <bridge>.mgmt as usual. A path of a Unix socket is at most 107 bytes long, so the
// lab's directory and the name must be short; a longer one is refused.
func (l *Lab) Host(ctx context.Context, name string) (*Host, error) {
	h, err := l.host(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("host %q: %w", name, err)
	}
	return h, nil
}

func (l *Lab) host(ctx context.Context, name string) (*Host, error) {
	n, err := l.newNode(ctx, name, "host")
	if err != nil {
		return nil, err
	}
	h := &Host{Node: n, runDir: filepath.Join(l.dir, name), ports: make(map[string]attachment)}
	if longest := filepath.Join(h.runDir, "ovs-vswitchd.4194304.ctl"); len(longest) > maxSocketPath {
		return nil, fmt.Errorf("run directory %s is too long for the path of a Unix socket: %d > %d bytes", h.runDir, len(longest), maxSocketPath)
	}
	n.env = dirEnv(h.runDir)
	if err := os.Mkdir(h.runDir, 0o755); err != nil {
		return nil, err
	}
	db, version, err := l.database(ctx)
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(h.dbFile(), db, 0o640); err != nil {
		return nil, err
	}
	if err := h.StartDB(ctx); err != nil {
		return nil, err
	}
	config := []any{}
	if DPDK() {
		n.env = append(n.env, "RUNTIME_DIRECTORY="+dpdkDir(h.runDir))
		if config, err = dpdkConfig(); err != nil {
			return nil, err
		}
		if err := os.Mkdir(dpdkDir(h.runDir), 0o755); err != nil {
			return nil, err
		}
	}
	// What ovs-ctl records of a host at its start.
	id := sha256.Sum256([]byte(h.runDir))
	_, err = transact(ctx, h.DBSocket(), map[string]any{"op": "insert", "table": "Open_vSwitch", "row": map[string]any{
		"ovs_version":    version,
		"other_config":   []any{"map", config},
		"system_type":    "lab",
		"system_version": "0",
		"external_ids": []any{"map", []any{
			[]any{"hostname", name},
			[]any{"system-id", fmt.Sprintf("%x-%x-%x-%x-%x", id[:4], id[4:6], id[6:8], id[8:10], id[10:16])},
			[]any{"rundir", h.runDir},
		}},
	}})
	if err != nil {
		return nil, err
	}
	return h, h.StartVswitchd(ctx)
}

// template is an empty Open_vSwitch database and the version of Open vSwitch, which all labs of a process have in common: each
// is what the programs say that PATH finds.
var template struct {
	sync.Mutex
	program string // ovs-vswitchd
	db      []byte
	version string
}

// database returns the template, made where there is none yet.
func (l *Lab) database(ctx context.Context) (db []byte, version string, err error) {
	t := &template
	t.Lock()
	defer t.Unlock()
	program, err := tool("ovs-vswitchd")
	if err != nil {
		return nil, "", err
	}
	if t.program != program {
		ctx, cancel := bounded(ctx, toolTimeout)
		defer cancel()
		err := func() error {
			file := filepath.Join(l.dir, "template.db")
			if _, _, err := l.run(ctx, nil, "lab", nil, Command{Args: []string{"ovsdb-tool", "create", file, schemaFile()}}); err != nil {
				return fmt.Errorf("make a database: %w", err)
			}
			var err error
			if t.db, err = os.ReadFile(file); err != nil {
				return fmt.Errorf("make a database: %w", err)
			}
			out, _, err := l.run(ctx, nil, "lab", nil, Command{Args: []string{"ovs-vswitchd", "--version"}})
			if err != nil {
				return fmt.Errorf("ask for the version of OVS: %w", err)
			}
			// "ovs-vswitchd (Open vSwitch) 3.1.0"
			first, _, _ := strings.Cut(out, "\n")
			t.version = first[strings.LastIndex(first, " ")+1:]
			t.program = program
			return nil
		}()
		if err != nil {
			return nil, "", err
		}
	}
	return t.db, t.version, nil
}

// schemaFile is the schema that belongs to the ovsdb-tool in use.
func schemaFile() string { return shareFile("openvswitch/vswitch.ovsschema") }

// shareFile is a file of the packages' /usr/share that belongs to the ovsdb-tool in use, which may be of an Open vSwitch that is
// unpacked, not installed (scripts/ovs-root.sh).
func shareFile(name string) string {
	inPackage := filepath.Join("/usr/share", name)
	program, err := tool("ovsdb-tool")
	if err != nil {
		return inPackage
	}
	for _, share := range []string{"../usr/share", "../share"} {
		file := filepath.Join(filepath.Dir(program), share, name)
		if _, err := os.Stat(file); err == nil {
			return file
		}
	}
	return inPackage
}

// RunDir is the host's OVS_RUNDIR.
func (h *Host) RunDir() string { return h.runDir }

// DBSocket is the path of the socket that ovsdb-server listens on.
func (h *Host) DBSocket() string { return filepath.Join(h.runDir, "db.sock") }

func (h *Host) dbFile() string { return filepath.Join(h.runDir, "conf.db") }

// Log is what ovs-vswitchd has logged so far.
func (h *Host) Log() string {
	b, err := os.ReadFile(filepath.Join(h.runDir, "ovs-vswitchd.log"))
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// Vsctl runs ovs-vsctl on the host's database. It waits for ovs-vswitchd as ovs-vsctl does; give --no-wait where none
// runs.
func (h *Host) Vsctl(ctx context.Context, args ...string) (string, error) {
	return h.tool(ctx, append([]string{"ovs-vsctl", "--db=unix:" + h.DBSocket()}, args...)...)
}

// Ofctl runs ovs-ofctl; a bridge's name in args is that of a bridge of the host.
func (h *Host) Ofctl(ctx context.Context, args ...string) (string, error) {
	return h.tool(ctx, append([]string{"ovs-ofctl"}, args...)...)
}

// Appctl runs ovs-appctl on the host's ovs-vswitchd.
func (h *Host) Appctl(ctx context.Context, args ...string) (string, error) {
	pid := h.VswitchdPID()
	if pid == 0 {
		return "", fmt.Errorf("%s: ovs-appctl %s: ovs-vswitchd does not run", h, strings.Join(args, " "))
	}
	h.mu.Lock()
	target := h.ctl
	h.mu.Unlock()
	if target == "" {
		target = filepath.Join(h.runDir, fmt.Sprintf("ovs-vswitchd.%d.ctl", pid))
	}
	return h.tool(ctx, append([]string{"ovs-appctl", "-t", target}, args...)...)
}

func (h *Host) tool(ctx context.Context, args ...string) (string, error) {
	ctx, cancel := bounded(ctx, toolTimeout)
	defer cancel()
	out, _, err := h.Exec(ctx, args...)
	return out, err
}

// StartDB starts ovsdb-server and waits until it takes connections.
func (h *Host) StartDB(ctx context.Context) error {
	return h.startDB(ctx)
}

// RestartDBWith ends ovsdb-server, and starts it with more options, such as another --remote.
func (h *Host) RestartDBWith(ctx context.Context, options ...string) error {
	if err := h.StopDB(ctx); err != nil {
		return err
	}
	return h.startDB(ctx, options...)
}

func (h *Host) startDB(ctx context.Context, options ...string) error {
	args := []string{"ovsdb-server", "--remote=punix:" + h.DBSocket(), "--pidfile", "--log-file", "-vconsole:off", h.dbFile()}
	return h.startDaemon(ctx, &h.db, h.databaseAnswers, append(args, options...)...)
}

func (h *Host) databaseAnswers(ctx context.Context) error {
	_, err := transact(ctx, h.DBSocket())
	return err
}

// StartVswitchd starts ovs-vswitchd, waits until it has done what the database says, and gives the bridges' own ports
// their addresses and routes again, which went with the process.
func (h *Host) StartVswitchd(ctx context.Context) error { return h.StartVswitchdWith(ctx, "--pidfile") }

// StartVswitchdWith is StartVswitchd with other options than a pidfile, such as --unixctl.
func (h *Host) StartVswitchdWith(ctx context.Context, options ...string) error {
	return h.StartVswitchdAs(ctx, VswitchdStart{Options: options})
}

// VswitchdStart is another way of starting ovs-vswitchd.
type VswitchdStart struct {
	Within  []string // a program that runs it, such as unshare, with its arguments
	RunDir  string   // what its run directory is called where it runs; empty: as here
	Options []string
	Control string // the path of its control socket, as seen from here, where that is not the usual one
}

// StartVswitchdAs is StartVswitchd in another way.
func (h *Host) StartVswitchdAs(ctx context.Context, as VswitchdStart) error {
	ctx, cancel := bounded(ctx, toolTimeout)
	defer cancel()
	h.mu.Lock()
	h.ctl = as.Control
	h.mu.Unlock()
	rundir := as.RunDir
	if rundir == "" {
		rundir = h.runDir
	}
	args := slices.Concat(as.Within, []string{"ovs-vswitchd", "unix:" + filepath.Join(rundir, "db.sock"), "--log-file", "-vconsole:off"}, as.Options)
	if h.lab.datapath == Userspace {
		args = append(args, "--disable-system") // the kernel's datapath is not to be asked for, nor its module loaded
	}
	err := h.startDaemon(ctx, &h.vs, nil, args...)
	if err != nil {
		return err
	}
	if err := h.WaitReady(ctx); err != nil {
		return err
	}
	if DPDK() {
		if err := h.checkDPDK(ctx); err != nil {
			return err
		}
	}
	h.mu.Lock()
	nets, routes := slices.Clone(h.nets), slices.Clone(h.routes)
	h.mu.Unlock()
	for _, u := range nets {
		if err := h.underlay(ctx, u); err != nil {
			return err
		}
	}
	for _, r := range routes {
		if err := h.route(ctx, r); err != nil {
			return err
		}
	}
	return nil
}

func (h *Host) startDaemon(ctx context.Context, slot **Process, ready func(context.Context) error, args ...string) error {
	ctx, cancel := bounded(ctx, toolTimeout)
	defer cancel()
	h.mu.Lock()
	defer h.mu.Unlock()
	if running(*slot) {
		return fmt.Errorf("%s: %s runs already", h, args[0])
	}
	p, err := h.Start(ctx, Command{Args: args, Dir: "/"})
	if err != nil {
		return err
	}
	*slot = p
	if ready == nil {
		return nil
	}
	return Until(ctx, args[0]+" answers", func(ctx context.Context) error {
		if !running(p) {
			return Permanent(fmt.Errorf("%s: %s ended: %w", h, args[0], errors.Join(p.err, errors.New(p.Stderr()))))
		}
		return ready(ctx)
	})
}

func running(p *Process) bool {
	if p == nil {
		return false
	}
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

func (h *Host) daemon(slot **Process) *Process {
	h.mu.Lock()
	defer h.mu.Unlock()
	if running(*slot) {
		return *slot
	}
	return nil
}

// StopDB ends ovsdb-server in order (SIGTERM).
func (h *Host) StopDB(ctx context.Context) error {
	p := h.daemon(&h.db)
	if p == nil {
		return fmt.Errorf("%s: ovsdb-server does not run", h)
	}
	return p.Stop(ctx)
}

// StopVswitchd ends ovs-vswitchd in order (SIGTERM). The userspace datapath and the bridges' own ports end with it.
func (h *Host) StopVswitchd(ctx context.Context) error {
	p := h.daemon(&h.vs)
	if p == nil {
		return fmt.Errorf("%s: ovs-vswitchd does not run", h)
	}
	return p.Stop(ctx)
}

// KillVswitchd ends ovs-vswitchd as a crash does (SIGKILL).
func (h *Host) KillVswitchd(ctx context.Context) error {
	p := h.daemon(&h.vs)
	if p == nil {
		return fmt.Errorf("%s: ovs-vswitchd does not run", h)
	}
	return p.Kill(ctx)
}

// KillDB ends ovsdb-server as a crash does (SIGKILL).
func (h *Host) KillDB(ctx context.Context) error {
	p := h.daemon(&h.db)
	if p == nil {
		return fmt.Errorf("%s: ovsdb-server does not run", h)
	}
	return p.Kill(ctx)
}

// VswitchdPID is the process number of ovs-vswitchd, 0 if it does not run.
func (h *Host) VswitchdPID() int {
	if p := h.daemon(&h.vs); p != nil {
		return p.PID()
	}
	return 0
}

// WaitReady waits until ovs-vswitchd has done everything that the database says at this moment, and packets are handled
// accordingly. After ovsdb-server was away this takes some seconds, for ovs-vswitchd connects again ever less often; and
// until then it forwards nothing, since in the userspace datapath its main loop moves the packets, and stands still.
func (h *Host) WaitReady(ctx context.Context) error {
	ctx, cancel := bounded(ctx, toolTimeout)
	defer cancel()
	// ovs-vswitchd says that it is done before the threads that translate packets know of it: they do in the next turn
	// of its main loop, and that has come when it has done something else.
	for range 2 {
		if err := h.catchUp(ctx); err != nil {
			return fmt.Errorf("%s: %w", h, err)
		}
	}
	return nil
}

// catchUp asks for a turn (next_cfg) and waits for it (cur_cfg), as ovs-vsctl does.
func (h *Host) catchUp(ctx context.Context) error {
	results, err := transact(ctx, h.DBSocket(),
		map[string]any{"op": "mutate", "table": "Open_vSwitch", "where": []any{}, "mutations": []any{[]any{"next_cfg", "+=", 1}}},
		map[string]any{"op": "select", "table": "Open_vSwitch", "where": []any{}, "columns": []string{"next_cfg"}})
	if err != nil {
		return fmt.Errorf("ask ovs-vswitchd to catch up: %w", err)
	}
	var want struct {
		Rows []struct {
			Next int64 `json:"next_cfg"`
		}
	}
	if err := json.Unmarshal(results[1], &want); err != nil || len(want.Rows) != 1 {
		return fmt.Errorf("ask ovs-vswitchd to catch up: unexpected reply %s", results[1])
	}
	return Until(ctx, "ovs-vswitchd has caught up with the database", func(ctx context.Context) error {
		if h.daemon(&h.vs) == nil {
			return Permanent(fmt.Errorf("it does not run; its log ends: %s", tail(h.Log(), 5)))
		}
		var got []struct {
			Cur int64 `json:"cur_cfg"`
		}
		if err := selectRows(ctx, h.DBSocket(), "Open_vSwitch", nil, []string{"cur_cfg"}, &got); err != nil {
			return err
		}
		if len(got) != 1 || got[0].Cur < want.Rows[0].Next {
			return fmt.Errorf("cur_cfg %v is below %d", got, want.Rows[0].Next)
		}
		return nil
	})
}

// WaitFlows waits until running traffic is handled by the OpenFlow flows as they are now: a changed flow reaches what the
// datapath has cached only after ovs-ofctl has returned.
func (h *Host) WaitFlows(ctx context.Context) error {
	if err := h.WaitReady(ctx); err != nil { // the change has reached the main loop
		return err
	}
	_, err := h.Appctl(ctx, "revalidator/wait")
	return err
}

func tail(s string, lines int) string {
	all := strings.Split(strings.TrimSpace(s), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// AddBridge adds a bridge of the lab's datapath. More settings of its row go in as ovs-vsctl takes them, such as
// "fail-mode=secure" or "other_config:hwaddr=…".
func (h *Host) AddBridge(ctx context.Context, name string, settings ...string) error {
	if err := checkDevice(name); err != nil {
		return fmt.Errorf("%s: add bridge: %w", h, err)
	}
	args := []string{"add-br", name, "--", "set", "bridge", name, "datapath_type=" + h.lab.datapath}
	if _, err := h.Vsctl(ctx, append(args, settings...)...); err != nil {
		return err
	}
	return h.checkPort(ctx, name)
}

// DelBridge removes a bridge. Devices that were attached to it stay, on no bridge.
func (h *Host) DelBridge(ctx context.Context, name string) error {
	h.mu.Lock()
	h.nets = slices.DeleteFunc(h.nets, func(u underlay) bool { return u.bridge == name })
	h.mu.Unlock()
	_, err := h.Vsctl(ctx, "del-br", name)
	return err
}

// checkPort returns the error that ovs-vswitchd has with an interface: ovs-vsctl does not.
func (h *Host) checkPort(ctx context.Context, name string) error {
	return Until(ctx, fmt.Sprintf("%s has port %q in force", h, name), func(ctx context.Context) error {
		var rows []struct {
			OFPort any `json:"ofport"`
			Error  any `json:"error"`
		}
		where := []any{[]any{"name", "==", name}}
		if err := selectRows(ctx, h.DBSocket(), "Interface", where, []string{"ofport", "error"}, &rows); err != nil {
			return err
		}
		if len(rows) != 1 {
			return Permanent(fmt.Errorf("there are %d interfaces of that name", len(rows)))
		}
		if msg, ok := rows[0].Error.(string); ok {
			return Permanent(errors.New(msg))
		}
		if n, ok := rows[0].OFPort.(float64); !ok || n < 0 {
			return fmt.Errorf("its ofport is %v", rows[0].OFPort)
		}
		return nil
	})
}

// PauseVswitchd freezes ovs-vswitchd (SIGSTOP) until ResumeVswitchd, as a host that is stuck.
func (h *Host) PauseVswitchd() error { return h.signal(&h.vs, unix.SIGSTOP) }

// ResumeVswitchd lets a frozen ovs-vswitchd go on (SIGCONT).
func (h *Host) ResumeVswitchd() error { return h.signal(&h.vs, unix.SIGCONT) }

// PauseDB and ResumeDB do the same to ovsdb-server.
func (h *Host) PauseDB() error  { return h.signal(&h.db, unix.SIGSTOP) }
func (h *Host) ResumeDB() error { return h.signal(&h.db, unix.SIGCONT) }

func (h *Host) signal(slot **Process, sig syscall.Signal) error {
	p := h.daemon(slot)
	if p == nil {
		return fmt.Errorf("%s: it does not run", h)
	}
	return p.Signal(sig)
}
