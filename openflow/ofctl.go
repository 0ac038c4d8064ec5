package openflow

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/digitalocean/go-openvswitch/ovs"

	"github.com/ovs-erspan/ovs-erspan/flows"
)

// protocol is the OpenFlow version spoken: bundles need 1.4 or later (ovs-ofctl(8), --bundle).
const protocol = ovs.ProtocolOpenFlow15

// execApply makes the changes with ovs-ofctl, in one bundle.
func (c *Client) execApply(ctx context.Context, bridge string, changes flows.FlowChanges) error {
	return c.writer(ctx).OpenFlow.AddFlowBundle(c.target(bridge), func(tx *ovs.FlowTransaction) error {
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
}

// execAdd adds one flow with ovs-ofctl.
func (c *Client) execAdd(ctx context.Context, bridge string, l flows.Line) error {
	return c.writer(ctx).OpenFlow.AddFlow(c.target(bridge), writerFlow(l))
}

// execDump reads all flows with ovs-ofctl, which knows every field and action.
func (c *Client) execDump(ctx context.Context, bridge string) ([]flows.Entry, error) {
	out, err := c.run(ctx, nil, "ovs-ofctl", "--protocols="+protocol, "dump-flows", c.target(bridge))
	if err != nil {
		return nil, err
	}
	return parseDump(out)
}

func writerFlow(l flows.Line) *ovs.Flow {
	matches := textMatch(l.Match)
	if n := l.HardTimeout(time.Now()); n != 0 {
		matches = append(matches, text(fmt.Sprintf("hard_timeout=%d", n))) // go-openvswitch has no field for it
	}
	return &ovs.Flow{
		Table: int(l.Table), Priority: l.Priority, Cookie: uint64(l.Cookie),
		Matches: matches, Actions: []ovs.Action{text(l.Actions)},
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

// target is a bridge as ovs-ofctl takes it.
func (c *Client) target(bridge string) string { return "unix:" + c.socket(bridge) }

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
