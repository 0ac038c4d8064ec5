package flows

import (
	"maps"
	"slices"
	"time"

	"github.com/ovs-erspan/ovs-erspan/session"
)

// StopChanges are the changes of rows that only stop what no session wishes any more. They need neither flows nor
// ovs-vswitchd, nor the way to any collector: so they can be made while nothing else can. What a session that runs may
// need stays. Where none runs, nothing of ours does.
func StopChanges(state State, sessions []session.Stored, now time.Time) []RowOp {
	running := slices.DeleteFunc(slices.Clone(sessions), func(s session.Stored) bool {
		return s.Stopped() || s.ExpiresAt != nil && !now.Before(*s.ExpiresAt)
	})
	if len(running) == 0 {
		c := RowChanges(state, Program{})
		return append(c.After, c.Last...)
	}
	taps, deliveries, devices := map[string]bool{}, map[string]bool{}, map[string]bool{}
	for _, s := range running {
		b := state.Bridges[s.Bridge]
		switch {
		case s.Type == session.Destination && s.Bridge == "":
			devices[s.OutputPort] = true
		case s.Type == session.Destination:
			production, tap := deliveryNames(s.Bridge, s.OutputPort)
			deliveries[production], deliveries[tap] = true, true
		case b != nil:
			ports, _ := ResolveSources(s.Session, b)
			for _, w := range tapWishes(s.Session, ports) {
				for _, key := range w.keys() {
					taps[key] = true
				}
			}
		}
	}
	var mirrors, ports []RowOp
	for _, name := range slices.Sorted(maps.Keys(state.Bridges)) {
		b := state.Bridges[name]
		gone := map[string]bool{}
		for _, port := range slices.Sorted(maps.Keys(b.Ports)) {
			ids := b.Ports[port].ExternalIDs
			kind, key := ids[OwnerKey], ids[tapIDKey]
			if kind == "tap" && key != "" && !taps[key] || kind == "delivery" && !deliveries[port] || kind == "output" && !devices[port] {
				gone[port] = true
				ports = append(ports, RowOp{Bridge: name, DelPort: port})
			}
		}
		for _, uuid := range slices.Sorted(maps.Keys(b.Mirrors)) {
			if m := b.Mirrors[uuid]; Ours(m.ExternalIDs) && (gone[m.OutputPort] || !taps[m.ExternalIDs[tapIDKey]]) {
				mirrors = append(mirrors, RowOp{Bridge: name, DelMirror: uuid})
			}
		}
	}
	return append(mirrors, ports...)
}
