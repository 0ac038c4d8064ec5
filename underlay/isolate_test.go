//go:build linux

package underlay_test

import (
	"context"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/nftables"

	"github.com/ovs-erspan/ovs-erspan/e2e/lab"
	"github.com/ovs-erspan/ovs-erspan/underlay"
)

// TestIsolate: the host's own stack gets nothing of what arrives at a device that is isolated, and all of it afterwards. A
// device that was made anew, or a chain that lets frames through, is seen and mended; what others have on the device stays,
// and so do the tables of another Open vSwitch of this host.
func TestIsolate(t *testing.T) {
	ctx := context.Background()
	l, err := lab.New(ctx, "")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	node := func(name string) *lab.Node {
		n, err := l.Guest(ctx, name)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	host, far := node("host"), node("far")
	connect := func() {
		t.Helper()
		err := lab.Connect(ctx, host, lab.NodeIf{Dev: "an0", Addrs: []string{"192.0.2.1/24"}}, far, lab.NodeIf{Dev: "eth0", Addrs: []string{"192.0.2.2/24"}}, 1500)
		if err != nil {
			t.Fatal(err)
		}
	}
	connect()
	answers := func(what string, want bool) {
		t.Helper()
		got, err := lab.Ping(ctx, far, netip.MustParseAddr("192.0.2.1"), lab.PingOptions{Count: 2})
		if err != nil {
			t.Fatal(err)
		}
		if (got.Received > 0) != want {
			t.Errorf("%s: %d of 2 pings are answered", what, got.Received)
		}
	}
	const one, two = "11111111-aaaa", "22222222-aaaa"
	// isolate says how much changed; what is to change is said before, and nothing after.
	isolate := func(what, ovs string, want int, devices ...string) {
		t.Helper()
		err := host.Do(func() error {
			before, err := underlay.Isolation(ovs, devices)
			if err != nil {
				return err
			}
			n, err := underlay.Isolate(ovs, devices)
			if err != nil {
				return err
			}
			after, err := underlay.Isolation(ovs, devices)
			if n != want || (len(before) > 0) != (want > 0) || len(after) != 0 {
				t.Errorf("%s: %d changed, want %d; before: %q, after: %q", what, n, want, before, after)
			}
			return err
		})
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
	theirs := &nftables.Table{Family: nftables.TableFamilyNetdev, Name: "theirs"}
	change := func(f func(conn *nftables.Conn)) {
		t.Helper()
		err := host.Do(func() error {
			conn, err := nftables.New()
			if err != nil {
				return err
			}
			f(conn)
			return conn.Flush()
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	tables := func() (names string) {
		err := host.Do(func() error {
			conn, err := nftables.New()
			if err != nil {
				return err
			}
			list, err := conn.ListTables()
			for _, table := range list {
				names += table.Name + " "
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(names)
	}

	change(func(conn *nftables.Conn) { conn.AddTable(theirs) })
	answers("before", true)
	isolate("nothing to do", one, 0)
	isolate("a device that is not there", one, 0, "none")
	isolate("isolated", one, 1, "an0", "none")
	answers("isolated", false)
	isolate("again", one, 0, "an0")
	isolate("another Open vSwitch, too", two, 1, "an0")
	isolate("another Open vSwitch no more", two, 1)
	answers("still isolated", false)

	accept := nftables.ChainPolicyAccept
	change(func(conn *nftables.Conn) {
		chains, err := conn.ListChains()
		if err != nil {
			t.Fatal(err)
		}
		conn.AddChain(&nftables.Chain{Table: &nftables.Table{Family: nftables.TableFamilyNetdev, Name: "ovs-erspan-11111111"}, Name: chains[0].Name, Policy: &accept})
	})
	answers("somebody lets frames through", true)
	isolate("somebody lets frames through", one, 2, "an0")
	answers("mended", false)

	if _, _, err := host.Exec(ctx, "ip", "link", "del", "an0"); err != nil {
		t.Fatal(err)
	}
	connect()
	err = host.Do(func() error { _, err := underlay.Isolate(one, []string{"an0"}); return err })
	if err != nil {
		t.Fatal(err)
	}
	answers("a device that was made anew", false)
	isolate("and nothing is left to do", one, 0, "an0")

	isolate("no more", one, 1)
	answers("no more", true)
	if got := tables(); got != "theirs" {
		t.Errorf("tables that are left: %s", got)
	}
}
