package main

import (
	"bytes"
	"fmt"
	"slices"
	"time"

	"github.com/ovs-erspan/ovs-erspan/flows"
	"github.com/ovs-erspan/ovs-erspan/session"
)

// lost fills in what is known to be lost of what was sent. Only a daemon counts that, so without one nothing is said but what
// an earlier one has counted. was is the session's status as the daemon has stored it.
func (v *sessionView) lost(was session.Status, watching *time.Time) {
	v.watching = watching
	for i := range v.Status.Collectors {
		c := &v.Status.Collectors[i]
		var noted *session.Loss
		if i := slices.IndexFunc(was.Collectors, func(w session.CollectorStatus) bool { return w.Address == c.Address }); i >= 0 {
			noted = was.Collectors[i].Lost
		}
		since := watching
		switch {
		case c.Sent == nil && c.Snaplen > 0:
			continue // of what was sent nothing is known
		case watching != nil && noted != nil && noted.Counting && !c.Vanishes:
			continue // the daemon has not yet told how many were lost until just now
		case noted != nil:
			c.Lost = &flows.Count{Packets: noted.Packets, Bytes: noted.Bytes}
			// Copies vanished when the daemon looked last, and do now.
			if watching != nil && noted.Counting && c.Vanishes && c.Sent != nil {
				c.Lost.Packets += c.Sent.Packets - min(noted.SentPackets, c.Sent.Packets)
				c.Lost.Bytes += c.Sent.Bytes - min(noted.SentBytes, c.Sent.Bytes)
			}
			since = &noted.Since
		case watching != nil:
			c.Lost = &flows.Count{}
		default:
			continue
		}
		if v.Status.Lost == nil {
			v.Status.Lost = &flows.Count{}
		}
		*v.Status.Lost = v.Status.Lost.Plus(*c.Lost)
		if v.Status.LostSince == nil || since.Before(*v.Status.LostSince) {
			v.Status.LostSince = since
		}
	}
}

// watching is since when a daemon has been counting lost copies; nil where none does.
func (a *app) watching() *time.Time {
	d, running := readSign(a.rundir)
	if !running || d.hung() || d.Watching.IsZero() {
		return nil
	}
	return &d.Watching
}

// writeLost says what the number of lost copies means.
func writeLost(buf *bytes.Buffer, v sessionView) {
	switch {
	case len(v.Status.Collectors) == 0:
	case v.Status.Lost == nil && v.watching == nil:
		buf.WriteString("lost copies are counted while a daemon runs\n")
	case v.Status.Lost != nil && v.Status.Lost.Packets > 0:
		fmt.Fprintf(buf, "lost is the least that is lost since %s of what was sent: each was sent while its way ended on this host\n", v.Status.LostSince.Format(time.RFC3339))
	}
}
