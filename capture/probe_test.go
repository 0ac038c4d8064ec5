package capture

import (
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ovs-erspan/ovs-erspan/erspan"
	"github.com/ovs-erspan/ovs-erspan/probe"
)

// The tests' sender and receiver are addresses of the loopback device, which a host does not answer: to an Answerer they
// look like others, by a value that stands for them.
var (
	testSender   = netip.MustParseAddr("127.0.0.1")
	testReceiver = netip.MustParseAddr("127.0.0.2")
)

func testAddresses(time.Time) (addresses, error) {
	a := newAddresses([]netip.Prefix{netip.PrefixFrom(testReceiver, 32), netip.MustParsePrefix("192.0.2.1/24"), netip.MustParsePrefix("2001:db8::1/64")})
	a.reserved = slices.DeleteFunc(slices.Clone(a.reserved), func(p netip.Prefix) bool { return p.Contains(testReceiver) })
	return a, nil
}

func probeRecord(port uint16) *Record {
	p := probe.Probe{Run: 5, Port: port, Tap: 1, Sequence: 2, Session: "web", Sent: time.Now()}
	r := &Record{Received: time.Now()}
	r.Packet.Outer.Src, r.Packet.Outer.Dst = testSender, testReceiver
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
	a := newAnswerer(testAddresses)
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
	if a.Unanswered[NoPort] != 2 {
		t.Errorf("unanswered: %v", a.Unanswered)
	}
}

// TestAnswersNobodyElse: only other hosts are answered, and only for what was sent to this one. The reason is counted.
func TestAnswersNobodyElse(t *testing.T) {
	_, port := listen(t)
	for _, c := range []struct {
		from, to string
		why      Unanswered
	}{
		{"127.0.0.1", "127.0.0.3", NotToUs}, {"127.0.0.1", "192.0.2.255", NotToUs}, {"127.0.0.1", "224.0.0.1", NotToUs}, {"2001:db8::2", "2001:db8::3", NotToUs},
		{"0.0.0.0", "127.0.0.2", NoUnicast}, {"0.1.2.3", "127.0.0.2", NoUnicast}, {"224.0.0.251", "127.0.0.2", NoUnicast}, {"255.255.255.255", "127.0.0.2", NoUnicast},
		{"240.0.0.1", "127.0.0.2", NoUnicast}, {"192.0.2.255", "127.0.0.2", NoUnicast}, {"192.0.2.0", "127.0.0.2", NoUnicast},
		{"::", "2001:db8::1", NoUnicast}, {"::1", "2001:db8::1", NoUnicast}, {"ff02::1", "2001:db8::1", NoUnicast}, {"::ffff:192.0.2.9", "2001:db8::1", NoUnicast},
		{"192.0.2.1", "127.0.0.2", FromUs}, {"127.0.0.2", "127.0.0.2", FromUs}, {"2001:db8::1", "2001:db8::1", FromUs},
	} {
		a, r := newAnswerer(testAddresses), probeRecord(port)
		r.Packet.Outer.Src, r.Packet.Outer.Dst = netip.MustParseAddr(c.from), netip.MustParseAddr(c.to)
		if err := a.Write(r); err != nil || a.Answered != 0 || a.Unanswered[c.why] != 1 {
			t.Errorf("from %s to %s: %v, %s", c.from, c.to, err, a.Summary())
		}
	}
	// A real host's own: whatever else it has, the loopback's.
	known, err := hostAddresses()(time.Now())
	if err != nil || !known.own[testSender] || known.unicast(testSender) {
		t.Errorf("%+v, %v", known, err)
	}
}

// TestAnswersAreNoBroadcast: what no list of addresses shows to be a broadcast, the kernel still refuses.
func TestAnswersAreNoBroadcast(t *testing.T) {
	a, r := newAnswerer(testAddresses), probeRecord(probe.FirstPort)
	r.Packet.Outer.Src = netip.MustParseAddr("127.255.255.255")
	if err := a.Write(r); err != nil || a.Answered != 0 || a.Unanswered[Failed] != 1 || !errors.Is(a.Err, syscall.EACCES) {
		t.Errorf("%v, %s", err, a.Summary())
	}
}

// TestForgedProbesStarveNobody: neither a flood from one forged sender nor one from ten thousands of them keeps another
// sender's probes from being answered; to one sender goes no more than its share, whatever else is forged meanwhile.
func TestForgedProbesStarveNobody(t *testing.T) {
	now := time.Now()
	l := newSenderLimits(now)
	victim, allowed := netip.MustParseAddr("198.51.100.7"), 0
	address := func(n int) netip.Addr { return netip.AddrFrom4([4]byte{10, byte(n >> 16), byte(n >> 8), byte(n)}) }
	refused, other := 0, netip.MustParseAddr("203.0.113.9")
	for l.bucket(other) == l.bucket(victim) { // one time in 65,536
		other = other.Next()
	}
	for n := range 49000 { // ten seconds of 4,900 a second
		now = now.Add(time.Second / 4900)
		if l.allow(victim, now) {
			allowed++
		}
		l.allow(address(n), now)
		if n%4900 == 0 { // a true one each second
			if !l.allow(other, now) {
				refused++
			}
		}
	}
	if most := answersAtOnce + 10*answersPerSender + 20; allowed > most {
		t.Errorf("%d answers to one sender, want %d at most", allowed, most)
	}
	if refused != 0 {
		t.Errorf("%d of 10 true probes were refused", refused)
	}
	for n := range 100 * answersAtOnce { // IPv6 addresses of one subnet are one sender
		if a := netip.AddrFrom16([16]byte{0x20, 1, 13, 184, 15: byte(n), 14: byte(n >> 8)}); l.allow(a, now) && n >= answersAtOnce {
			t.Fatalf("the subnet's address %d was answered", n)
		}
	}

	// The whole: a flood from one sender, then a true probe.
	_, port := listen(t)
	a := newAnswerer(testAddresses)
	flood := probeRecord(port)
	for range 20 * answersAtOnce {
		if err := a.Write(flood); err != nil {
			t.Fatal(err)
		}
	}
	if a.Unanswered[SenderTooMany] < 10*answersAtOnce {
		t.Errorf("a flood: %s", a.Summary())
	}
	before, honest := a.Answered, probeRecord(port)
	honest.Packet.Outer.Src = netip.MustParseAddr("127.0.0.9")
	if err := a.Write(honest); err != nil || a.Answered != before+1 {
		t.Errorf("after a flood another sender was not answered: %v, %s", err, a.Summary())
	}
}

// TestAnswerFails: a sender that cannot be reached is no reason to stop.
func TestAnswerFails(t *testing.T) {
	a := newAnswerer(testAddresses)
	r := probeRecord(probe.FirstPort)
	r.Packet.Outer.Src = netip.MustParseAddr("fe80::1") // without a device there is no way there
	if err := a.Write(r); err != nil || a.Unanswered[Failed] != 1 || a.Err == nil || !strings.Contains(a.Summary(), "0 probes answered, 1 not: 1 the answer could not be sent (answer to [fe80::1]") {
		t.Errorf("%v, %s", err, a.Summary())
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
