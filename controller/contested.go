package controller

import (
	"encoding/json"
	"fmt"
	"hash/fnv"
	"slices"
	"strings"
	"time"

	"github.com/ovs-erspan/ovs-erspan/flows"
	"github.com/ovs-erspan/ovs-erspan/session"
)

// contested is something of ours that somebody else keeps undoing, and that is left alone for now.
type contested struct {
	bridge string
	row    string       // the name of the mirror, port or bridge; "" for flows
	cookie flows.Cookie // of the flow on a production bridge; 0: flows of the tap bridge
	until  time.Time
}

func (x contested) String() string {
	if x.row != "" {
		return fmt.Sprintf("row %q of bridge %q", x.row, x.bridge)
	}
	return fmt.Sprintf("flows with cookie %#x/%#x of bridge %q", flows.OwnCookies, flows.OwnCookiesMask, x.bridge)
}

// may asks the contest about something that is not as wished, and notes and tells where it is left alone. The caller holds
// disputes.
func (c *Controller) may(key, wish string, x contested, result *Result) bool {
	now := c.Now()
	may, begins := c.contest.may(key, wish, now)
	if may {
		return true
	}
	x.until = c.contest[key].until
	if begins {
		result.resting = append(result.resting, x)
	}
	result.Contested = append(result.Contested, x)
	return false
}

// warn tells of the rests that begin, all in one line: a bridge whose mirrors are cleared has many.
func (c *Controller) warn(resting []contested) {
	if len(resting) == 0 {
		return
	}
	var what []string
	for _, x := range resting {
		what = append(what, x.String())
	}
	slices.Sort(what)
	const few = 8
	if more := len(what) - few; more > 0 {
		what = append(what[:few], fmt.Sprintf("and %d more", more))
	}
	c.Log.Warn("somebody else undoes again and again what is put back: it is left alone for a while",
		"what", strings.Join(what, ", "), "until", resting[0].until.UTC().Format(time.RFC3339))
}

// undisputed are the row changes without those that somebody keeps undoing, and without what would need them. A row that
// somebody keeps changing is taken away: it might do what nobody here wants. What mends our own bridge itself is always
// done: with another fail mode it would flood.
func (c *Controller) undisputed(state flows.State, ops []flows.RowOp, result *Result) []flows.RowOp {
	c.disputes.Lock()
	defer c.disputes.Unlock()
	var kept []flows.RowOp
	for _, op := range ops {
		key, wish, name := disputable(state, op)
		missing := result.withheld[op.Bridge+" bridge"]
		if m := mirrorOf(op); m != nil {
			missing = missing || result.withheld[op.Bridge+" port "+m.OutputPort]
		}
		switch {
		case key == "":
			kept = append(kept, op)
		case missing:
		case c.may(key, wish, contested{bridge: op.Bridge, row: name}, result):
			kept = append(kept, op)
		default:
			result.withheld[key] = true
			switch {
			case op.SetPort != nil:
				kept = append(kept, flows.RowOp{Bridge: op.Bridge, DelPort: op.SetPort.Name})
			case op.SetMirror != nil:
				kept = append(kept, flows.RowOp{Bridge: op.Bridge, DelMirror: op.SetMirror.UUID})
			}
		}
	}
	return kept
}

func mirrorOf(op flows.RowOp) *flows.Mirror {
	if op.AddMirror != nil {
		return op.AddMirror
	}
	return op.SetMirror
}

// disputed notes that the changes are made.
func (c *Controller) disputed(state flows.State, ops []flows.RowOp) {
	c.disputes.Lock()
	defer c.disputes.Unlock()
	for _, op := range ops {
		if key, wish, _ := disputable(state, op); key != "" {
			c.contest.placed(key, wish, c.Now())
		}
	}
}

// disputable is the key of what a change puts in place, all that it is made of, and the name of its row; "" for a change
// that is never a matter of contest. A bridge or port that is there anew is another, as it has another UUID: what went with
// it was not undone.
func disputable(state flows.State, op flows.RowOp) (key, wish, name string) {
	bridge := state.Bridges[op.Bridge]
	on := ""
	if bridge != nil {
		on = bridge.UUID
	}
	text := func(row any) string {
		b, err := json.Marshal(row)
		if err != nil {
			return err.Error()
		}
		return on + string(b)
	}
	switch {
	case op.AddBridge != nil:
		return op.Bridge + " bridge", "", op.Bridge
	case op.AddPort != nil:
		return op.Bridge + " port " + op.AddPort.Name, text(op.AddPort), op.AddPort.Name
	case op.SetPort != nil:
		return op.Bridge + " port " + op.SetPort.Name, text(op.SetPort), op.SetPort.Name
	}
	m := mirrorOf(op)
	if m == nil {
		return "", "", ""
	}
	row := *m
	row.UUID = ""
	wish = text(row)
	for _, port := range slices.Concat(m.SelectSrcPort, m.SelectDstPort, []string{m.OutputPort}) {
		if bridge != nil && bridge.Ports[port] != nil {
			wish += " " + bridge.Ports[port].UUID
		}
	}
	return op.Bridge + " mirror " + m.Name, wish, m.Name
}

// undisputedFlows leaves away what is to be added to a tap bridge, if somebody keeps taking it away. What protects
// production, the guard and the removal of others' flows, is always done.
func (c *Controller) undisputedFlows(plan Plan, bridge string, wished []flows.Line, changes *flows.FlowChanges, result *Result) (placed func()) {
	guards := func(l flows.Line) bool {
		return l.Cookie.Stage() == flows.StageGuard || l.Cookie.Stage() == flows.StageNone
	}
	if !slices.ContainsFunc(changes.Add, func(l flows.Line) bool { return !guards(l) }) {
		return func() {}
	}
	sum := fnv.New64a()
	for _, l := range wished {
		l.Expires = 0
		_, _ = sum.Write([]byte(l.String()))
	}
	// After a restart of ovs-vswitchd, and on another bridge of the same name, flows were never there.
	key, wish := bridge+" flows", fmt.Sprintf("%x %s %s", sum.Sum(nil), plan.Input.State.Bridges[bridge].UUID, c.Vswitchd.Instance())
	c.disputes.Lock()
	defer c.disputes.Unlock()
	if !c.may(key, wish, contested{bridge: bridge}, result) {
		changes.Add = slices.DeleteFunc(changes.Add, func(l flows.Line) bool { return !guards(l) })
		return func() {}
	}
	return func() {
		c.disputes.Lock()
		defer c.disputes.Unlock()
		c.contest.placed(key, wish, c.Now())
	}
}

// markContested tells so in the states of the sessions that need what is left alone.
func markContested(p flows.Program, all []contested) {
	for _, out := range p.Outcomes {
		for _, x := range all {
			reason, what := concerns(out, x)
			if reason == "" || out.State != session.Active && out.State != session.Degraded {
				continue
			}
			out.State, out.Reason = session.Degraded, reason
			out.Message = fmt.Sprintf("somebody else undoes %s again and again (%s): it is put back at %s, and whenever a session is changed; see that whoever programs bridge %q leaves it alone",
				what, x, x.until.UTC().Format(time.RFC3339), x.bridge)
			break
		}
	}
}

// concerns tells whether a session needs what is contested, and what that is to it.
func concerns(out *flows.Outcome, x contested) (reason, what string) {
	d := out.Delivery
	switch {
	case out.TapBridge == "":
	case x.row == "" && x.cookie != 0:
		if d != nil && x.bridge == d.Bridge && x.cookie.Slot() == uint32(d.ProductionOFPort) {
			return flows.ReasonFlowContested, fmt.Sprintf("the flow that delivers to %q", d.OutputPort)
		}
	case x.row == "":
		if x.bridge == out.TapBridge {
			return flows.ReasonFlowContested, "flows of our own bridge"
		}
	case x.row == out.TapBridge, out.Needs(x.row):
		return flows.ReasonMirrorContested, "what mirrors or carries its frames"
	}
	return "", ""
}
