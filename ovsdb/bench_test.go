package ovsdb

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"testing"
	"time"

	"github.com/ovs-erspan/ovs-erspan/flows"
	"github.com/ovs-erspan/ovs-erspan/ovsdb/ovsdbtest"
	"github.com/ovs-erspan/ovs-erspan/session"
)

// thousandSessions is a store with 1000 sessions over 50 bridges with four ports each, five sessions a port.
func thousandSessions(b *testing.B, collectors int) map[string]string {
	store := map[string]string{}
	e, err := newEdit(store, &memo{}, func(w *session.Wish) error {
		for n := range 1000 {
			id, port := n%1000+1, fmt.Sprintf("p%d-%d", n/20, n/5%4)
			s := session.Session{Name: fmt.Sprintf("s%04d", n), Bridge: fmt.Sprintf("p%d", n/20), Sources: session.Sources{Ports: []string{port}}, ERSPAN: session.ERSPAN{SessionID: &id}}
			for c := range collectors {
				s.Collectors = append(s.Collectors, netip.AddrFrom4([4]byte{192, 0, 2, byte(c + 9)}))
			}
			w.Sessions = append(w.Sessions, session.Stored{Session: s.Defaulted(), Identities: map[string]session.Identity{port: {IfaceID: "6a8c4e1c-" + port}}})
		}
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
	for n := range 1000 {
		status := session.Status{State: session.Active, Reason: "InForce", Since: time.Date(2030, 1, 31, 18, 0, 0, 0, time.UTC),
			Effective: &session.Effective{SessionID: n + 1, Snaplen: 1464, Origin: "192.0.2.1", Device: "br-ul", Ports: []string{"p"}}}
		for c := range collectors {
			status.Collectors = append(status.Collectors, session.CollectorStatus{
				Address: netip.AddrFrom4([4]byte{192, 0, 2, byte(c + 9)}).String(), State: session.Active, Reason: "InForce",
				Snaplen: 1464, SnaplenReason: "auto: MTU 1500 of br-ul less 36 for IP, GRE and ERSPAN 1 (Type II) over IPv4", Origin: "192.0.2.1", Device: "br-ul",
			})
		}
		if e.put[fmt.Sprintf("%ss%04d", statusPrefix, n)], err = writeStatus(status); err != nil {
			b.Fatal(err)
		}
	}
	return e.put
}

// eachStore runs a benchmark over thousandSessions.
func eachStore(b *testing.B, run func(b *testing.B, store map[string]string)) {
	for _, collectors := range []int{1, 10} {
		b.Run(fmt.Sprintf("collectors=%d", collectors), func(b *testing.B) {
			store := thousandSessions(b, collectors)
			b.ReportAllocs()
			run(b, store)
		})
	}
}

func BenchmarkReadSessions(b *testing.B) {
	eachStore(b, func(b *testing.B, store map[string]string) {
		for b.Loop() {
			if wish := readWish(store, nil); len(wish.Sessions) != 1000 {
				b.Fatal(wish.Broken)
			}
		}
	})
}

func BenchmarkReadStatuses(b *testing.B) {
	eachStore(b, func(b *testing.B, store map[string]string) {
		for b.Loop() {
			if all := readStatuses(store, nil); len(all) != 1000 {
				b.Fatal(len(all))
			}
		}
	})
}

// BenchmarkEdit changes one session of a thousand, and then reads what is wished, as a command does.
func BenchmarkEdit(b *testing.B) {
	eachStore(b, func(b *testing.B, store map[string]string) {
		for b.Loop() {
			var m memo
			e, err := newEdit(store, &m, func(w *session.Wish) error { w.Sessions[7].Disabled = true; return nil })
			if err != nil || len(e.put) != 1 {
				b.Fatal(e.put, err)
			}
			after := maps.Clone(store)
			maps.Copy(after, e.put)
			reader := m.begin()
			wish := readWish(after, reader)
			reader.end()
			if !wish.Sessions[7].Disabled {
				b.Fatal(wish.Broken)
			}
		}
	})
}

// BenchmarkState observes 50 bridges with four ports and four taps each.
func BenchmarkState(b *testing.B) {
	s := ovsdbtest.Start(b)
	var args []string
	for n := range 50 {
		bridge := fmt.Sprintf("p%d", n)
		args = append(args, "--", "add-br", bridge)
		for p := range 4 {
			port, tap := fmt.Sprintf("%s-%d", bridge, p), fmt.Sprintf("es-%s-%d", bridge, p)
			args = append(args, "--", "add-port", bridge, port, "--", "set", "interface", port, "external_ids:iface-id="+port,
				"--", "add-port", bridge, tap, "--", "set", "port", tap, "external_ids:"+flows.OwnerKey+"=tap", "other_config:rstp-enable=false",
				"--", "set", "interface", tap, "type=patch", "options:peer="+tap+"-t", "external_ids:"+flows.OwnerKey+"=tap",
				"--", "--id=@"+tap, "get", "port", tap, "--", "--id=@m-"+tap, "create", "mirror", "name="+tap, "output_port=@"+tap,
				"--", "add", "bridge", bridge, "mirrors", "@m-"+tap)
		}
	}
	s.Vsctl(args[1:]...)
	db, err := Connect(context.Background(), s.RunDir)
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	b.ReportAllocs()
	for b.Loop() {
		if state, err := db.State(); err != nil || len(state.Bridges) != 50 {
			b.Fatal(state, err)
		}
	}
}
