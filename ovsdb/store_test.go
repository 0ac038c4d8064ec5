package ovsdb_test

import (
	"context"
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/ovs-erspan/ovs-erspan/ovsdb/ovsdbtest"
	"github.com/ovs-erspan/ovs-erspan/session"
)

func newSession(name string) session.Stored {
	id := 7
	return session.Stored{Session: session.Session{
		Name: name, Bridge: "br0", Sources: session.Sources{Ports: []string{"p1"}},
		Collectors: []netip.Addr{netip.MustParseAddr("192.0.2.9")},
		ERSPAN:     session.ERSPAN{Version: 1, SessionID: &id},
	}}
}

func TestStoreSmoke(t *testing.T) {
	s := ovsdbtest.Start(t)
	var wg sync.WaitGroup
	for i := range 20 {
		db := connect(t, s)
		wg.Go(func() {
			g, err := db.Update(context.Background(), func(w *session.Wish) error {
				w.Sessions = append(w.Sessions, newSession(fmt.Sprintf("s%d", i)))
				return nil
			})
			if err != nil {
				t.Error(err)
			}
			_ = g
		})
	}
	wg.Wait()
	db := connect(t, s)
	w, err := db.Wish()
	if err != nil || len(w.Sessions) != 20 || w.Generation != 20 || len(w.Broken) > 0 {
		t.Fatal(w, err)
	}
	if err := db.Report(context.Background(), 20, map[string]session.Status{"s1": {State: session.Active, Since: time.Now()}}); err != nil {
		t.Fatal(err)
	}
	fmt.Println(s.Vsctl("get", "open_vswitch", ".", "external_ids"))
}
