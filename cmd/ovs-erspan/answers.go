package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/ovs-erspan/ovs-erspan/probe"
	"github.com/ovs-erspan/ovs-erspan/trace"
)

// answerListener waits for the answers to the probes of one run, on the addresses that they leave from.
type answerListener struct {
	run     uint32
	port    uint16
	sockets []*net.UDPConn
	answers chan receivedAnswer
	done    sync.WaitGroup
}

// receivedAnswer is an answer and when it came.
type receivedAnswer struct {
	probe.Answer
	at time.Time
}

// listenForAnswers takes one port, the same on each address, out of those that receivers answer to.
func listenForAnswers(addresses []netip.Addr, run uint32) (*answerListener, error) {
	if len(addresses) == 0 {
		return nil, errors.New("no collector has a route")
	}
	const tries = 20
	var err error
	for range tries {
		l := &answerListener{run: run, port: uint16(probe.FirstPort + rand.IntN(65536-probe.FirstPort)), answers: make(chan receivedAnswer, 1024)}
		if err = l.open(addresses); err == nil {
			for _, conn := range l.sockets {
				l.done.Go(func() { l.read(conn) })
			}
			return l, nil
		}
		l.Close()
	}
	return nil, fmt.Errorf("no UDP port: %w", err)
}

func (l *answerListener) open(addresses []netip.Addr) error {
	for _, a := range addresses {
		conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(a, l.port)))
		if err != nil {
			return err
		}
		l.sockets = append(l.sockets, conn)
	}
	return nil
}

// read hands on the answers of this run, until the socket is closed. Whoever else sends something is not listened to.
func (l *answerListener) read(conn *net.UDPConn) {
	buf := make([]byte, 2048)
	for {
		n, err := conn.Read(buf)
		if err != nil {
			return
		}
		now := time.Now()
		if a, ok := probe.ReadAnswer(buf[:n]); ok && a.Run == l.run {
			select {
			case l.answers <- receivedAnswer{a, now}:
			default: // more than could have been asked for
			}
		}
	}
}

// Close ends the waiting.
func (l *answerListener) Close() {
	for _, conn := range l.sockets {
		conn.Close()
	}
	l.done.Wait()
}

// collect waits for the answers to all probes, but no longer than wait, and notes them.
func (l *answerListener) collect(ctx context.Context, proof *trace.Proof, sent map[sentProbe]time.Time, wait time.Duration) {
	type arrival struct {
		sentProbe
		collector string
	}
	got := map[arrival]receivedAnswer{}
	want := 0
	for _, t := range proof.Taps {
		for _, send := range t.Sends {
			if send.Header != nil {
				want += t.Sent
			}
		}
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for len(got) < want {
		select {
		case a := <-l.answers:
			key := arrival{sentProbe{a.Tap, a.Sequence}, a.Collector.String()}
			if _, ours := sent[key.sentProbe]; !ours {
				continue
			}
			if _, again := got[key]; !again { // a receiver on all devices may see a probe more than once
				got[key] = a
			}
			continue
		case <-timer.C:
		case <-ctx.Done():
		}
		break
	}
	for i := range proof.Taps {
		t := &proof.Taps[i]
		for _, send := range t.Sends {
			if send.Header == nil {
				continue
			}
			found := trace.Arrivals{Collector: send.Collector}
			var times []time.Duration
			for key, a := range got {
				if int(key.tap) != i || key.collector != send.Collector {
					continue
				}
				found.Arrived++
				// As in NTP (RFC 5905): the receiver's own time is taken off by its own clock.
				times = append(times, max(0, a.at.Sub(sent[key.sentProbe])-a.Answered.Sub(a.Received)))
				if wrong := wrongAnswer(a.Answer, *send.Header); wrong != "" {
					found.Wrong = wrong
				}
			}
			found.Round = trace.NewRound(times)
			t.Arrivals = append(t.Arrivals, found)
		}
	}
}

// wrongAnswer is what of a header that arrived is not what left.
func wrongAnswer(a probe.Answer, left trace.Header) string {
	var faults []string
	check := func(name string, is, wish int) {
		if is != wish {
			faults = append(faults, fmt.Sprintf("%s %d instead of %d", name, is, wish))
		}
	}
	check("version", int(a.Version), left.Version)
	check("session id", int(a.SessionID), left.SessionID)
	if left.Version == 2 {
		check("hardware id", int(a.HardwareID), left.HardwareID)
		check("direction", int(a.Direction), left.Direction)
	} else {
		check("index", int(a.Index), left.Index)
	}
	return strings.Join(faults, ", ")
}
