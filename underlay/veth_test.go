//go:build linux

package underlay_test

import (
	"context"
	"maps"
	"slices"
	"testing"

	"github.com/ovs-erspan/ovs-erspan/e2e/lab"
	"github.com/ovs-erspan/ovs-erspan/flows"
	"github.com/ovs-erspan/ovs-erspan/underlay"
)

// TestVeth: a pair is seen when it works; one whose end is down, or that would take super-frames, is seen as broken and is
// made anew; a device that is no veth is left alone.
func TestVeth(t *testing.T) {
	ctx := context.Background()
	l, err := lab.New(ctx, "")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	node, err := l.Guest(ctx, "host")
	if err != nil {
		t.Fatal(err)
	}
	pair, ok := flows.VethOf("es-0123456789-q")
	if !ok || pair.Out != "es-0123456789-s" {
		t.Fatalf("VethOf: %v, %v", pair, ok)
	}
	in := func(what string, f func() error) {
		t.Helper()
		if err := node.Do(f); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
	there := func(what string, want ...flows.Veth) {
		t.Helper()
		in(what, func() error {
			got, others, err := underlay.Veths([]flows.Veth{pair})
			if err == nil && (!slices.Equal(got, want) || len(others) > 0) {
				t.Errorf("%s: %v, want %v; others %v", what, got, want, others)
			}
			return err
		})
	}
	add := func() error { return underlay.AddVeth(pair) }
	broken := flows.Veth{In: pair.In}
	there("at first")
	in("add", add)
	there("added", pair)
	for _, fault := range [][]string{
		{"ip", "link", "set", pair.Out, "down"},
		{"ethtool", "-K", pair.In, "tx", "on", "tso", "on"},
	} {
		if _, _, err := node.Exec(ctx, fault...); err != nil {
			t.Fatal(err)
		}
		there(fault[0], broken)
		in("add again", add)
		there("added again", pair)
	}
	in("delete", func() error { return underlay.DeleteVeth(pair) })
	in("delete what is gone", func() error { return underlay.DeleteVeth(pair) })
	there("deleted")
	for _, name := range []string{pair.In, pair.Out} {
		if _, _, err := node.Exec(ctx, "ip", "tuntap", "add", name, "mode", "tap"); err != nil {
			t.Fatal(err)
		}
		if err := node.Do(add); err == nil {
			t.Error("a device that is no veth was taken for ours")
		}
		in("others", func() error {
			got, others, err := underlay.Veths([]flows.Veth{pair})
			if err == nil && (len(got) > 0 || !maps.Equal(others, map[string]string{name: "tuntap"})) {
				t.Errorf("beside %s of others: %v, others %v", name, got, others)
			}
			return err
		})
		if _, _, err := node.Exec(ctx, "ip", "link", "del", name); err != nil {
			t.Fatal(err)
		}
	}
}
