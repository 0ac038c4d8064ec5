package flows

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ovs-erspan/ovs-erspan/session"
)

// TestMeterHarm: traces of Open vSwitch 3.1.0, with the actions that were measured to lose production's packets and not to.
func TestMeterHarm(t *testing.T) {
	for actions, harm := range map[string]string{
		"clone(meter(0),trunc(100),6),clone(meter(1),trunc(200),5),3":      "",
		"clone(meter(0),trunc(100),6),trunc(200),5,3":                      "",
		"clone(meter(0),clone(trunc(64),2)),clone(trunc(64),3),1":          "",
		"sample(sample=100.0%,actions(meter(0),trunc(64),2)),1":            "",
		"meter(0),trunc(100),6,meter(1),trunc(200),5,3":                    "would drop production's own",
		"clone(trunc(100),6),meter(1),3":                                   "would drop production's own",
		"clone(trunc(64),2),clone(meter(0),clone(trunc(64),2)),meter(7),1": "would drop production's own",
		"set(tunnel(tun_id=0x1,flags(df|key))),meter(0),4":                 "would drop production's own",
		"clone(trunc(64),2),1":                                             "no effect",
		"drop":                                                             "no effect",
	} {
		got := MeterHarm("Flow: x\n\nDatapath actions: none yet\nFinal flow: unchanged\nDatapath actions: " + actions + "\nend")
		if harm == "" && got != "" || harm != "" && !strings.Contains(got, harm) {
			t.Errorf("%s: %q, want %q", actions, got, harm)
		}
	}
	if got := MeterHarm("Bad openflow flow syntax"); !strings.Contains(got, "no actions") {
		t.Errorf("no trace: %q", got)
	}
}

func TestMeterOf(t *testing.T) {
	for rate, want := range map[session.Rate]Meter{
		session.PacketsPerSecond(1):                     {ID: 7, Packets: true, Rate: 1, Burst: 10},
		session.PacketsPerSecond(5000):                  {ID: 7, Packets: true, Rate: 5000, Burst: 500},
		session.PacketsPerSecond(session.MaxPacketRate): {ID: 7, Packets: true, Rate: 4294967295, Burst: 429496729},
		session.BitsPerSecond(1000):                     {ID: 7, Rate: 1, Burst: 600},
		session.BitsPerSecond(100_000_000):              {ID: 7, Rate: 100_000, Burst: 10_000},
		session.BitsPerSecond(session.MaxBitRate):       {ID: 7, Rate: 4294967295, Burst: 429496729},
	} {
		if got := meterOf(7, rate); got != want {
			t.Errorf("%s: %v, want %v", rate, got, want)
		}
	}
}

func TestCompareMeters(t *testing.T) {
	m := func(id, rate uint32) Meter { return Meter{ID: id, Rate: rate} }
	var got FlowChanges
	got.CompareMeters([]Meter{m(1, 1), m(2, 1), m(9, 1)}, []Meter{m(1, 1), m(2, 5), m(3, 1)})
	want := FlowChanges{AddMeters: []Meter{m(3, 1)}, SetMeters: []Meter{m(2, 5)}, DeleteMeters: []Meter{m(9, 1)}}
	if diff := cmp.Diff(want, got); diff != "" || got.Count() != 3 || got.Empty() {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// TestLimitFails: a rate that cannot be bounded without harm fails its session, and no other.
func TestLimitFails(t *testing.T) {
	sessions := []session.Stored{
		stored(1, "few", func(s *session.Session) { s.MaxRate = session.PacketsPerSecond(9) }),
		stored(2, "all", func(s *session.Session) { s.ERSPAN.SessionID = ptr(2) }),
	}
	in := Input{State: production(), Sessions: sessions, Paths: paths(sessions)}
	states := func() (got []string) {
		p := Build(in)
		for _, s := range sessions {
			out := p.Outcomes[s.Name]
			got = append(got, string(out.State)+" "+out.Reason)
		}
		return got
	}
	if diff := cmp.Diff([]string{"Active InForce", "Active InForce"}, states()); diff != "" {
		t.Error(diff)
	}
	in.Unsafe = map[string]string{"netdev": "it harms"}
	if diff := cmp.Diff([]string{"Failed LimitUnsafe", "Active InForce"}, states()); diff != "" {
		t.Error(diff)
	}
	if m := Build(in).TapBridges[0].Meters; len(m) != 0 {
		t.Errorf("meters %v of a session that failed", m)
	}
}

// TestSelfTestUnderWay: whoever plans leaves a self-test alone for a while, and then clears it away.
func TestSelfTestUnderWay(t *testing.T) {
	now := time.Unix(1_900_000_000, 0)
	state := production()
	for _, op := range NewSelfTest("netdev", now).Rows {
		if op.AddBridge != nil {
			state.Bridges[op.Bridge] = op.AddBridge
		}
	}
	at := func(after time.Duration, underWay bool) {
		t.Helper()
		left, is := state.SelfTestLeft(now.Add(after))
		if len(left) != 2 || is != underWay || (len(state.WithoutSelfTests(now.Add(after)).Bridges) == 2) != underWay {
			t.Errorf("after %s: %v, under way %v", after, left, is)
		}
		if ops := RowChanges(state.WithoutSelfTests(now.Add(after)), Program{}).Last; (len(ops) == 0) != underWay {
			t.Errorf("after %s: %v", after, ops)
		}
	}
	at(0, true)
	at(selfTestLife-time.Second, true)
	at(selfTestLife, false)
	at(-time.Hour, false) // the clock was set back: it is not left for an hour
	if len(state.Bridges) != 4 {
		t.Error("the state itself was changed")
	}
}
