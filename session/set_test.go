package session

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func source(name string, id int, collectors ...string) Session {
	s := Session{Name: name, Type: Source, Bridge: "br0", Sources: Sources{Ports: []string{"vnet0"}}, ERSPAN: ERSPAN{Version: 1, SessionID: &id}}
	for _, c := range collectors {
		s.Collectors = append(s.Collectors, netip.MustParseAddr(c))
	}
	return s
}

func destination(name, from string, h ERSPAN, d Direction) Session {
	if h.SessionID == nil {
		h.SessionID = new(10)
	}
	return Session{Name: name, Type: Destination, OutputPort: name, From: from, ERSPAN: h, Direction: d}
}

func messages(err error) []string {
	var out []string
	for _, e := range Flatten(err) {
		out = append(out, e.Error())
	}
	return out
}

func TestCheckSet(t *testing.T) {
	onBridge := func(s Session, port, bridge string) Session {
		s.OutputPort, s.Bridge = port, bridge
		return s
	}
	disabled := source("off", 7, "192.0.2.9")
	disabled.Disabled = true
	from := func(name string) Session { return destination(name, "any", ERSPAN{SessionID: new(len(name))}, "") }
	for _, c := range []struct {
		name string
		all  []Session
		want []string
	}{
		{"nothing", nil, nil},
		{"the same id to other collectors", []Session{source("a", 7, "192.0.2.9"), source("b", 7, "192.0.2.10", "2001:db8::9")}, nil},
		{"the same collector with other ids", []Session{source("a", 7, "192.0.2.9"), source("b", 8, "192.0.2.9")}, nil},
		{"no id yet", []Session{{Name: "a", Collectors: source("a", 1, "192.0.2.9").Collectors}, {Name: "b", Collectors: source("a", 1, "192.0.2.9").Collectors}}, nil},
		{"a destination session with a source session's id", []Session{source("a", 10, "192.0.2.9"), destination("b", "192.0.2.9", ERSPAN{}, "")}, nil},
		{"the same collector and id", []Session{source("a", 7, "192.0.2.9"), source("b", 7, "192.0.2.10", "192.0.2.9")}, []string{
			`session "b": erspan.sessionID 7: session "a" has the same id and the same collector 192.0.2.9; give another session id, or leave it out for the lowest that is free`,
		}},
		{"the same collector and id, three times", []Session{source("a", 7, "192.0.2.9"), source("b", 7, "192.0.2.9"), source("c", 7, "192.0.2.9")}, []string{
			`session "b": erspan.sessionID 7: session "a" has the same id and the same collector 192.0.2.9; give another session id, or leave it out for the lowest that is free`,
			`session "c": erspan.sessionID 7: session "a" has the same id and the same collector 192.0.2.9; give another session id, or leave it out for the lowest that is free`,
		}},
		{"with a disabled one", []Session{disabled, source("b", 7, "192.0.2.9")}, []string{
			`session "b": erspan.sessionID 7: session "off" has the same id and the same collector 192.0.2.9; give another session id, or leave it out for the lowest that is free`,
		}},
		{"a name twice", []Session{source("a", 7, "192.0.2.9"), source("a", 8, "192.0.2.9")}, []string{
			`session "a": name a: another session has this name; give each session a name of its own`,
		}},
		{"a port that is delivered to is mirrored", []Session{source("a", 1, "192.0.2.9"), onBridge(from("d"), "vnet0", "br0")}, []string{
			`session "d": outputPort vnet0: session "a" mirrors this port, and what is delivered would be mirrored again; deliver to another port, or mirror another`,
		}},
		{"a port that is mirrored is delivered to", []Session{onBridge(from("d"), "vnet0", "br0"), source("a", 1, "192.0.2.9")}, []string{
			`session "a": sources.ports[0] vnet0: session "d" delivers to this port, and what it delivers would be mirrored again; mirror another port, or deliver to another`,
		}},
		{"several deliver to one port", []Session{onBridge(from("d"), "p", "br0"), onBridge(from("dd"), "p", "br0")}, nil},
		{"a port on two bridges", []Session{onBridge(from("d"), "p", "br0"), onBridge(from("dd"), "p", "")}, []string{
			`session "dd": outputPort p: session "d" has the same port on bridge br0, this one on no bridge; give both the same bridge`,
		}},
	} {
		if diff := cmp.Diff(c.want, messages(CheckSet(c.all))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
	}
}

func TestOrder(t *testing.T) {
	const same, tie = `takes exactly the same frames`, `takes the same frames, and neither is more specific`
	for _, c := range []struct {
		name string
		a, b Session
		want string // "" where they can be ordered, or never meet
	}{
		{"the same header", destination("a", "192.0.2.1", ERSPAN{Version: 1}, ""), destination("b", "192.0.2.1", ERSPAN{Version: 1}, ""), same},
		{"any from any", destination("a", "any", ERSPAN{}, ""), destination("b", "any", ERSPAN{}, ""), same},
		{"other ids", destination("a", "any", ERSPAN{}, ""), destination("b", "any", ERSPAN{SessionID: new(11)}, ""), ""},
		{"other senders", destination("a", "192.0.2.1", ERSPAN{}, ""), destination("b", "192.0.2.2", ERSPAN{}, ""), ""},
		{"other versions", destination("a", "any", ERSPAN{Version: 1}, ""), destination("b", "any", ERSPAN{Version: 2}, ""), ""},
		{"other indexes", destination("a", "any", ERSPAN{Version: 1, Index: new(0)}, ""), destination("b", "any", ERSPAN{Version: 1, Index: new(1)}, ""), ""},
		{"hardware ids 0, 4 and 6", destination("a", "any", ERSPAN{Version: 2, HardwareID: new(4)}, ""), destination("b", "any", ERSPAN{Version: 2, HardwareID: new(6)}, ""), ""},
		{"both directions", destination("a", "any", ERSPAN{Version: 2}, Ingress), destination("b", "any", ERSPAN{Version: 2}, Egress), ""},
		{"one sender and any", destination("a", "192.0.2.1", ERSPAN{}, ""), destination("b", "any", ERSPAN{}, ""), ""},
		{"index and any", destination("a", "any", ERSPAN{Version: 1, Index: new(0)}, ""), destination("b", "any", ERSPAN{Version: 1}, ""), ""},
		{"sender against version", destination("a", "192.0.2.1", ERSPAN{}, ""), destination("b", "any", ERSPAN{Version: 1}, ""), tie},
		{"sender and version against index", destination("a", "192.0.2.1", ERSPAN{Version: 1}, ""), destination("b", "any", ERSPAN{Version: 1, Index: new(5)}, ""), tie},
		{"hardware id against direction", destination("a", "any", ERSPAN{Version: 2, HardwareID: new(1)}, ""), destination("b", "any", ERSPAN{Version: 2}, Egress), tie},
		{"sender against index: more fields win", destination("a", "192.0.2.1", ERSPAN{}, ""), destination("b", "any", ERSPAN{Version: 1, Index: new(5)}, ""), ""},
	} {
		for _, pair := range [][]Session{{c.a, c.b}, {c.b, c.a}} {
			got := messages(CheckSet(pair))
			var want []string
			if c.want != "" {
				remedy := "give one of them a further field (from, version, index, hardwareID, direction)"
				if c.want == same {
					remedy = "remove one of them, or give them different headers"
				}
				want = []string{`session "` + pair[1].Name + `": erspan.sessionID 10: session "` + pair[0].Name + `" ` + c.want + `; ` + remedy}
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", c.name, diff)
			}
		}
	}
}

// arrived is the header of one frame.
type arrived struct {
	from                       string
	version, index, hwid, dbit int
}

// takes is written against the header, apart from the code under test.
func takes(s Session, f arrived) bool {
	h := s.ERSPAN
	return (s.From == AnySender || s.From == f.from) && (h.Version == 0 || h.Version == f.version) &&
		(h.Index == nil || f.version == 1 && *h.Index == f.index) && (h.HardwareID == nil || f.version == 2 && *h.HardwareID == f.hwid) &&
		(s.Direction == "" || f.version == 2 && (s.Direction == Egress) == (f.dbit == 1))
}

// TestOrderDecides: of any two valid sessions that CheckSet lets pass, each frame that both take goes to one; and it
// refuses none that share no frame.
func TestOrderDecides(t *testing.T) {
	var frames []arrived
	for _, from := range []string{"192.0.2.1", "192.0.2.2", "192.0.2.3"} {
		for value := range 2 {
			frames = append(frames, arrived{from: from, version: 1, index: value})
			frames = append(frames, arrived{from: from, version: 2, hwid: value}, arrived{from: from, version: 2, hwid: value, dbit: 1})
		}
	}
	any := rapid.Custom(func(t *rapid.T) Session {
		s := destination("a", rapid.SampledFrom([]string{"any", "192.0.2.1", "192.0.2.2"}).Draw(t, "from"), ERSPAN{Version: rapid.IntRange(0, 2).Draw(t, "version")}, "")
		switch s.ERSPAN.Version {
		case 1:
			s.ERSPAN.Index = rapid.SampledFrom([]*int{nil, new(0), new(1)}).Draw(t, "index")
		case 2:
			s.ERSPAN.HardwareID = rapid.SampledFrom([]*int{nil, new(0), new(1)}).Draw(t, "hwid")
			s.Direction = rapid.SampledFrom([]Direction{"", Ingress, Egress}).Draw(t, "direction")
		}
		return s
	})
	rapid.Check(t, func(t *rapid.T) {
		a, b := any.Draw(t, "a"), any.Draw(t, "b")
		b.Name, b.OutputPort = "b", "b"
		for _, s := range []Session{a, b} {
			if err := s.Validate(); err != nil {
				t.Fatal(err)
			}
		}
		shared := false
		for _, f := range frames {
			shared = shared || takes(a, f) && takes(b, f)
		}
		refused := CheckSet([]Session{a, b}) != nil
		if want := shared && a.Specificity() == b.Specificity(); refused != want {
			t.Fatalf("refused is %v, want %v (share a frame: %v, specificity %d and %d)", refused, want, shared, a.Specificity(), b.Specificity())
		}
	})
}
