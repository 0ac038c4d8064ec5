package flows

import (
	"fmt"
	"maps"
	"strconv"
	"strings"
	"time"

	"github.com/ovs-erspan/ovs-erspan/session"
)

// The self-test of meters. Whether a meter on a copy can drop production's packet is for Open vSwitch's translation to
// decide, and differs between releases: so it is asked of the one in use, on two bridges that live for a moment. The one
// stands for a production bridge, with a Mirror to a patch; the other for a tap bridge, with the flows that a limited and
// an unlimited session get. What its ofproto/trace shows is judged by MeterHarm.

// Names of the two bridges, and the numbers on the second.
const (
	selfTestProduction = "es-limits-a"
	selfTestTap        = "es-limits-b"
	selfTestTapPort    = 2
)

// selfTestUntil is the key in external_ids under which a bridge of a self-test says until when it may be there, in seconds
// of Unix time. What is older was left by a crash.
const selfTestUntil = "ovs-erspan-until"

// selfTestLife is longer than a self-test takes, some tenths of a second, on a busy host too; so long one that was killed is
// in the way of the next.
const selfTestLife = 20 * time.Second

// SelfTest is what has to be done for one, in order: Rows, Flows by bridge, a trace of Packet on Bridge, and Cleanup.
type SelfTest struct {
	Rows    []RowOp
	Flows   map[string]FlowChanges
	Bridge  string
	Packet  string // as ofproto/trace takes it
	Cleanup []RowOp
}

// NewSelfTest makes the self-test for a datapath type.
func NewSelfTest(datapath string, now time.Time) SelfTest {
	ids := map[string]string{OwnerKey: "self-test", selfTestUntil: strconv.FormatInt(now.Add(selfTestLife).Unix(), 10)}
	bridge := func(name string) RowOp {
		return RowOp{Bridge: name, AddBridge: &Bridge{Name: name, DatapathType: datapath, FailMode: "secure", Protocols: tapBridgeProtocols, ExternalIDs: ids}}
	}
	production, tap := "es-limits-p", "es-limits-t"
	mark := map[string]string{OwnerKey: "self-test"}
	end := closedPatch(tap, production, mark)
	end.Trunks, end.OtherConfig, end.Interfaces[0].OFPortRequest = nil, nil, selfTestTapPort
	const limited, unlimited = 1, 2
	local := func(slot uint32) Line {
		return Line{Table: TableEncapsulate, Priority: priorityNormal, Cookie: NewCookie(StageSent, slot), Match: slotIs(slot), Actions: "output(port=LOCAL,max_len=64)"}
	}
	fan := []Action{cloneLimited(selfTestTapPort, TableLimit, limited), cloneInto(TableEncapsulate, unlimited)}
	return SelfTest{
		Rows: []RowOp{
			bridge(selfTestProduction), bridge(selfTestTap),
			{Bridge: selfTestProduction, AddPort: closedPatch(production, tap, mark)},
			{Bridge: selfTestTap, AddPort: end},
			{Bridge: selfTestProduction, AddMirror: &Mirror{Name: "ovs-erspan-self-test", SelectSrcPort: []string{selfTestProduction}, OutputPort: production, ExternalIDs: mark}},
		},
		Flows: map[string]FlowChanges{
			selfTestProduction: {Add: []Line{{Priority: priorityNormal, Cookie: NewCookie(StageNone, 0), Actions: "IN_PORT"}}},
			selfTestTap: {
				AddMeters: []Meter{meterOf(limited, session.PacketsPerSecond(minBurstPackets))},
				Add: []Line{
					Flow{TableClassify, priorityNormal, NewCookie(StageTapped, selfTestTapPort), Match{Fields: []string{inPort(selfTestTapPort)}}, fan}.Line(),
					limitFlows(session.Stored{Slot: limited}, 1)[0].Line(), local(limited), local(unlimited),
				},
			},
		},
		Bridge:  selfTestProduction,
		Packet:  "in_port=LOCAL,dl_type=0x88b5,dl_src=02:00:00:00:00:01,dl_dst=02:00:00:00:00:02",
		Cleanup: []RowOp{{Bridge: selfTestProduction, DelBridge: true}, {Bridge: selfTestTap, DelBridge: true}},
	}
}

// WithoutSelfTests is the state without the bridges of a self-test that is under way, which whoever plans leaves alone.
func (s State) WithoutSelfTests(now time.Time) State {
	underWay := func(_ string, b *Bridge) bool {
		until, err := strconv.ParseInt(b.ExternalIDs[selfTestUntil], 10, 64)
		return err == nil && Ours(b.ExternalIDs) && now.Before(time.Unix(until, 0)) && !now.Add(2*selfTestLife).Before(time.Unix(until, 0))
	}
	for name, b := range s.Bridges {
		if underWay(name, b) {
			s.Bridges = maps.Clone(s.Bridges)
			maps.DeleteFunc(s.Bridges, underWay)
			break
		}
	}
	return s
}

// SelfTestLeft tells whether bridges of a self-test are there, and whether it may still be under way.
func (s State) SelfTestLeft(now time.Time) (there []RowOp, underWay bool) {
	for _, op := range NewSelfTest("", now).Cleanup {
		if b := s.Bridges[op.Bridge]; b != nil {
			there = append(there, op)
			underWay = underWay || s.WithoutSelfTests(now).Bridges[op.Bridge] == nil
		}
	}
	return there, underWay
}

// MeterHarm says, from the text of ofproto/trace, why a meter could drop production's packet, or "": it has to be there,
// and each has to be within a clone (or a sample, which Open vSwitch makes of a clone where the datapath has none).
func MeterHarm(trace string) string {
	const begin = "Datapath actions: "
	i := strings.LastIndex(trace, begin)
	if i < 0 {
		return fmt.Sprintf("Open vSwitch's trace shows no actions: %q", trace)
	}
	actions, _, _ := strings.Cut(trace[i+len(begin):], "\n")
	var open []string // what each parenthesis belongs to
	word, meters, clones := 0, 0, 0
	for i, r := range actions {
		switch r {
		case '(':
			name := actions[word:i]
			switch {
			case name == "meter" && clones == 0:
				return "on this Open vSwitch a meter would drop production's own packets: its actions are " + actions
			case name == "meter":
				meters++
			case name == "clone" || name == "sample":
				clones++
			}
			open, word = append(open, name), i+1
		case ')':
			if len(open) > 0 {
				if last := open[len(open)-1]; last == "clone" || last == "sample" {
					clones--
				}
				open = open[:len(open)-1]
			}
			word = i + 1
		case ',':
			word = i + 1
		}
	}
	if meters == 0 {
		return "on this Open vSwitch a meter takes no effect: its actions are " + actions
	}
	return ""
}

// Proof is what a self-test found.
type Proof struct {
	Version string `json:"version"` // of the ovs-vswitchd that was asked
	Unsafe  string `json:"unsafe,omitempty"`
}
