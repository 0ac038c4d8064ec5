package openflow

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/digitalocean/go-openvswitch/ovs"

	"github.com/ovs-erspan/ovs-erspan/flows"
)

// protocol is the OpenFlow version spoken: bundles need 1.4 or later (ovs-ofctl(8), --bundle).
const protocol = ovs.ProtocolOpenFlow15

// Client speaks to the bridges of one Open vSwitch.
type Client struct{ rundir string }

// New makes a client for the Open vSwitch that has its sockets in rundir. Nothing is connected or executed yet.
func New(rundir string) *Client { return &Client{rundir: rundir} }

// Apply makes the changes to the bridge in one bundle: whoever looks, or whatever packet passes, meets all of them or
// none. An empty change does nothing.
func (c *Client) Apply(ctx context.Context, bridge string, changes flows.FlowChanges) error {
	if changes.Empty() {
		return nil
	}
	err := c.writer(ctx).OpenFlow.AddFlowBundle(c.target(bridge), func(tx *ovs.FlowTransaction) error {
		for _, l := range changes.Delete {
			tx.Delete(&ovs.MatchFlow{
				Table: int(l.Table), Cookie: uint64(l.Cookie), CookieMask: ^uint64(0), Matches: textMatch(l.Match),
			})
		}
		for _, l := range changes.Add {
			tx.Add(writerFlow(l))
		}
		return tx.Commit()
	})
	if err != nil {
		return fmt.Errorf("bridge %q: change %d flows: %w", bridge, len(changes.Add)+len(changes.Delete), err)
	}
	return nil
}

// Touch adds a flow that is there already, which makes Open vSwitch revalidate the megaflows of the whole datapath.
func (c *Client) Touch(ctx context.Context, bridge string) error {
	if err := c.writer(ctx).OpenFlow.AddFlow(c.target(bridge), writerFlow(flows.TouchFlow().Line())); err != nil {
		return fmt.Errorf("bridge %q: touch: %w", bridge, err)
	}
	return nil
}

// Dump reads all flows of the bridge with their counters.
//
// It needs the bridge to speak OpenFlow 1.5, as our own bridges do.
func (c *Client) Dump(ctx context.Context, bridge string) ([]flows.Entry, error) {
	out, err := c.run(ctx, nil, "ovs-ofctl", "--protocols="+protocol, "dump-flows", c.target(bridge))
	if err != nil {
		return nil, fmt.Errorf("bridge %q: dump flows: %w", bridge, err)
	}
	entries, err := parseDump(out)
	if err != nil {
		return nil, fmt.Errorf("bridge %q: dump flows: %w", bridge, err)
	}
	return entries, nil
}

func writerFlow(l flows.Line) *ovs.Flow {
	return &ovs.Flow{
		Table: int(l.Table), Priority: l.Priority, Cookie: uint64(l.Cookie),
		Matches: textMatch(l.Match), Actions: []ovs.Action{text(l.Actions)},
	}
}

// text is a match or the actions, already in the form that ovs-ofctl reads: go-openvswitch has no types for tunnel
// metadata, clone or max_len.
type text string

func (t text) MarshalText() ([]byte, error) { return []byte(t), nil }
func (t text) GoString() string             { return fmt.Sprintf("openflow.text(%q)", string(t)) }

func textMatch(match string) []ovs.Match {
	if match == "" {
		return nil
	}
	return []ovs.Match{text(match)}
}

// writer is a go-openvswitch client whose commands end with ctx and whose errors say what ovs-ofctl said.
func (c *Client) writer(ctx context.Context) *ovs.Client {
	return ovs.New(
		ovs.Protocols([]string{protocol}),
		ovs.Exec(func(cmd string, args ...string) ([]byte, error) { return c.run(ctx, nil, cmd, args...) }),
		ovs.Pipe(func(stdin io.Reader, cmd string, args ...string) ([]byte, error) {
			return c.run(ctx, stdin, cmd, args...)
		}),
	)
}

// target is a bridge's OpenFlow management socket: no name is looked up, and none can be mistaken for an option.
func (c *Client) target(bridge string) string {
	return "unix:" + filepath.Join(c.rundir, bridge+".mgmt")
}

// commandError is a command that failed, with what it wrote to standard error.
type commandError struct {
	command string
	stderr  string
	err     error
}

func (e *commandError) Error() string {
	said := strings.TrimSpace(e.stderr)
	if said == "" {
		said = e.err.Error()
	}
	return e.command + ": " + said
}

func (e *commandError) Unwrap() error { return e.err }

// run executes one of Open vSwitch's tools and returns what it printed.
func (c *Client) run(ctx context.Context, stdin io.Reader, command string, args ...string) ([]byte, error) {
	stdout, _, err := c.execute(ctx, stdin, command, args...)
	return stdout, err
}

// execute runs one of Open vSwitch's tools, without a shell. --no-names saves it from asking for every port's and
// table's name, and keeps port numbers numbers.
func (c *Client) execute(ctx context.Context, stdin io.Reader, command string, args ...string) (stdout, stderr []byte, err error) {
	cmd := exec.CommandContext(ctx, command, append([]string{"--no-names"}, args...)...)
	cmd.Env = append(os.Environ(), "OVS_RUNDIR="+c.rundir)
	cmd.Stdin = stdin
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	err = cmd.Run()
	switch {
	case err == nil:
	case ctx.Err() != nil:
		err = &commandError{command, "did not finish in time", ctx.Err()}
	case errors.Is(err, exec.ErrNotFound):
		err = &commandError{command, "not found: install Open vSwitch's tools (openvswitch-common)", err}
	default:
		err = &commandError{command, said.String(), err}
	}
	return out.Bytes(), said.Bytes(), err
}
