package main

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/ovs-erspan/ovs-erspan/capture"
	"github.com/ovs-erspan/ovs-erspan/doctor"
	"github.com/ovs-erspan/ovs-erspan/erspan"
	"github.com/ovs-erspan/ovs-erspan/underlay"
)

// maxSampled bounds how many kinds of packets a sample tells apart.
const maxSampled = 1024

// sampleUnreadable listens on all devices for a while, for ERSPAN that is sent to this host and that Open vSwitch cannot
// strip: Type I, and Type III with a platform subheader. Nothing in Open vSwitch's own counters tells who sends these.
func sampleUnreadable(ctx context.Context, length time.Duration) ([]doctor.Sample, error) {
	local, err := underlay.LocalAddresses()
	if err != nil {
		return nil, err
	}
	live, err := capture.OpenLive(capture.LiveOptions{})
	if err != nil {
		return nil, err
	}
	defer live.Close()
	ctx, cancel := context.WithTimeout(ctx, length)
	defer cancel()
	type kind struct {
		from      netip.Addr
		sessionID uint16
		what      string
	}
	counts := map[kind]uint64{}
	decoder := capture.NewDecoder(capture.Options{})
	err = live.Run(ctx, func(f *capture.Frame) error {
		r := decoder.Decode(f)
		if r == nil || !slices.Contains(local, r.Packet.Outer.Dst) {
			return nil
		}
		k := kind{from: r.Packet.Outer.Src, sessionID: r.Packet.Header.SessionID}
		switch {
		case r.Packet.Header.Version == erspan.TypeI:
			k.what = "Type I, which has no header"
		case r.Packet.Header.O:
			k.what = "Type III with a platform subheader (O=1)"
		default:
			return nil
		}
		if _, known := counts[k]; known || len(counts) < maxSampled {
			counts[k]++
		}
		return nil
	}, func() error { return nil })
	if err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return nil, err
	}
	samples := []doctor.Sample{}
	for _, k := range slices.SortedFunc(maps.Keys(counts), func(a, b kind) int {
		return cmp.Or(a.from.Compare(b.from), cmp.Compare(a.sessionID, b.sessionID), cmp.Compare(a.what, b.what))
	}) {
		samples = append(samples, doctor.Sample{From: k.from, SessionID: int(k.sessionID), What: k.what, Packets: counts[k]})
	}
	return samples, nil
}
