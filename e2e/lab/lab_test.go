//go:build linux

package lab_test

import (
	"context"
	"net/netip"
	"testing"
	"time"

	"github.com/ovs-erspan/ovs-erspan/e2e/lab"
)

// newLab makes a lab that ends with the test. It fails, and does not skip, without root: a test that silently did not
// run proves nothing.
func newLab(t *testing.T) (context.Context, *lab.Lab) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	t.Cleanup(cancel)
	l, err := lab.New(ctx, "")
	if err != nil {
		t.Fatalf("new lab: %v", err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return ctx, l
}

func must[T any](v T, err error) func(t *testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestGuestsPing(t *testing.T) {
	ctx, l := newLab(t)
	start := time.Now()
	h := must(l.Host(ctx, "h1"))(t)
	t.Logf("host up after %v", time.Since(start))
	check(t, h.AddBridge(ctx, "br0"))
	t.Logf("bridge after %v", time.Since(start))
	a, b := must(l.Guest(ctx, "a"))(t), must(l.Guest(ctx, "b"))(t)
	check(t, h.Attach(ctx, a, "br0", "vnet0", lab.GuestIf{Addrs: []string{"10.0.0.1/24"}}))
	check(t, h.Attach(ctx, b, "br0", "vnet1", lab.GuestIf{Addrs: []string{"10.0.0.2/24"}}))
	t.Logf("guests after %v", time.Since(start))
	c := must(b.Capture(ctx, "eth0", ""))(t)
	t.Logf("capture after %v", time.Since(start))
	res := must(lab.Ping(ctx, a, netip.MustParseAddr("10.0.0.2"), lab.PingOptions{Count: 5}))(t)
	if res.Sent != 5 || res.Received != 5 {
		t.Fatalf("ping: %+v\n%s", res, h.Log())
	}
	t.Logf("ping after %v", time.Since(start))
	check(t, c.Stop(ctx))
	t.Logf("stop after %v", time.Since(start))
	t.Logf("%+v", c.Stats())
	t.Log(must(c.Tcpdump(ctx))(t))
	t.Log(c.Fields(ctx, "", "ip.src", "icmp.seq"))
	t.Logf("fields after %v", time.Since(start))
	check(t, l.Close())
	t.Logf("closed after %v", time.Since(start))
}
