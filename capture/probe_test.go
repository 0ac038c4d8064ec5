package capture

import (
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/ovs-erspan/ovs-erspan/erspan"
	"github.com/ovs-erspan/ovs-erspan/probe"
)

// probeRecord is a probe as it was received over the loopback.
func probeRecord(port uint16) *Record {
	p := probe.Probe{Run: 5, Port: port, Tap: 1, Sequence: 2, Session: "web", Sent: time.Now()}
	r := &Record{Received: time.Now()}
	r.Packet.Outer.Src, r.Packet.Outer.Dst = netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("127.0.0.2")
	r.Packet.GRE = erspan.GREFor(erspan.TypeIII, 1)
	r.Packet.Header = erspan.Header{Version: erspan.TypeIII, SessionID: 7, HardwareID: 9, Direction: erspan.Egress}
	r.Packet.Inner = p.Frame()
	r.Packet.InnerLen = len(r.Packet.Inner)
	return r
}

// listen takes a port that probes may name.
func listen(t *testing.T) (conn *net.UDPConn, port uint16) {
	t.Helper()
	for port := uint16(probe.FirstPort + 1000); port < 65000; port += 17 {
		conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: int(port)})
		if err == nil {
			t.Cleanup(func() { conn.Close() })
			return conn, port
		}
	}
	t.Fatal("no port")
	return nil, 0
}

// TestAnswerer: the sender of a probe is told what arrived, from the collector's address; nothing else is ever answered, nor
// too much, nor to ports that no verify waits on.
func TestAnswerer(t *testing.T) {
	conn, port := listen(t)
	a := NewAnswerer()
	r := probeRecord(port)
	if err := a.Write(r); err != nil || a.Answered != 1 {
		t.Fatalf("%v, %+v", err, a)
	}
	buf := make([]byte, 1500)
	if err := conn.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	n, from, err := conn.ReadFromUDPAddrPort(buf)
	if err != nil {
		t.Fatal(err)
	}
	got, ok := probe.ReadAnswer(buf[:n])
	if !ok || got.Run != 5 || got.Tap != 1 || got.Sequence != 2 || got.Version != 2 || got.SessionID != 7 || got.HardwareID != 9 || got.Direction != 1 || got.Length != 60 ||
		got.Collector != r.Packet.Outer.Dst || !got.Received.Equal(r.Received) || got.Answered.Before(got.Received) {
		t.Errorf("%+v", got)
	}
	if from.Addr() != r.Packet.Outer.Dst {
		t.Errorf("the answer came from %s", from)
	}

	for name, change := range map[string]func(*Record){
		"another frame":   func(r *Record) { r.Packet.Inner[0] = 0; r.Packet.Inner[14] = 0 },
		"a broken packet": func(r *Record) { r.Err = erspan.ErrShortInner },
		"an answer":       func(r *Record) { r.Packet.Inner = append(r.Packet.Inner[:14:14], buf[:n]...) },
		"a low port":      func(r *Record) { *r = *probeRecord(53) },
		"no port":         func(r *Record) { *r = *probeRecord(0) },
	} {
		r := probeRecord(port)
		change(r)
		if err := a.Write(r); err != nil || a.Answered != 1 {
			t.Errorf("%s was answered: %v, %+v", name, err, a)
		}
	}
	if a.Unanswered != 2 {
		t.Errorf("%d unanswered, want 2", a.Unanswered)
	}
	for range 100 * answersAtOnce {
		if err := a.Write(probeRecord(port)); err != nil {
			t.Fatal(err)
		}
	}
	if a.Unanswered < 90*answersAtOnce {
		t.Errorf("of %d probes at once only %d were left unanswered", 100*answersAtOnce, a.Unanswered)
	}
}

// TestAnswerFails: a sender that cannot be reached is no reason to stop.
func TestAnswerFails(t *testing.T) {
	a := NewAnswerer()
	r := probeRecord(probe.FirstPort)
	r.Packet.Outer.Src = netip.MustParseAddr("fe80::1") // without a device there is no way there
	if err := a.Write(r); err != nil || a.Failed != 1 || a.Err == nil {
		t.Errorf("%v, %+v", err, a)
	}
}

func TestProbeIsShown(t *testing.T) {
	r := probeRecord(50000)
	if line := string(AppendText(nil, r, TextOptions{})); !strings.Contains(line, "ERSPAN III session 7 egress hwid 9") || !strings.Contains(line, "ovs-erspan probe 2 of session web, tap 1, run 000005, length 60") {
		t.Errorf("%s", line)
	}
	r.Packet.Inner = r.Packet.Inner[:14]
	if line := string(AppendText(nil, r, TextOptions{})); !strings.Contains(line, "ovs-erspan probe 2, tap 1, run 000005") {
		t.Errorf("cut: %s", line)
	}
}
