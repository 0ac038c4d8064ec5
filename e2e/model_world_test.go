//go:build linux

package e2e

import (
	"bytes"
	"context"
	be "encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/ovs-erspan/ovs-erspan/e2e/lab"
)

// world is the host that a sequence plays on, with the model beside it: the production bridge br0 with the guests a, b
// and c (vnet0, vnet1, vnet2) and an analyzer (an0), a device o0 on no bridge, an underlay with a collector that has
// three addresses, and a sender of ERSPAN.
type world struct {
	*scene
	wish wish
	on   modelHost
	// maybe are the wishes that may be programmed, wholly or in part, while nobody has put the wish in force; nil when it
	// is in force.
	maybe []wish
	// unknown tells that somebody else changed what is programmed, so that nothing can be said of the copies.
	unknown bool

	guests     map[string]*lab.Node // by port of br0
	macs       map[string]net.HardwareAddr
	far        *lab.Node // the sender of ERSPAN
	farTo      net.HardwareAddr
	foreign    string
	before     map[string][]string // what is others'
	production []*traffic
	wire       *lab.Capture
	outputs    map[string]*lab.Capture // by output port
	probe      int
	daemon     *lab.Process
	doomed     bool // the daemon was told to die at a step
	contested  int  // how often flows on br0 were deleted while this daemon ran
	history    []string
	steps      int
}

const secondCollectorAddr = "192.0.2.10"

// foreignKinds are what else there is on the host.
var foreignKinds = []string{"nothing", "a pipeline", "a mirror"}

func newWorld(m *modelT) *world {
	m.Helper()
	s := newScene(m)
	s.ctx = modelContext(m)
	w := &world{scene: s, wish: wish{}, outputs: map[string]*lab.Capture{}, macs: map[string]net.HardwareAddr{}}
	m.tell = w.tell
	w.on.ports = map[string]bool{"br0": true, "vnet0": true, "vnet1": true, "vnet2": true, "an0": true}
	w.guests = map[string]*lab.Node{"vnet0": s.a, "vnet1": s.b, "vnet2": s.guest("c"), "an0": s.guest("an")}
	w.far = s.guest("far")
	w.attach("vnet2")
	s.must(s.host.Attach(s.ctx, w.guests["an0"], "br0", "an0", lab.GuestIf{}))
	s.must(s.host.Attach(s.ctx, w.far, "br-ul", "far0", lab.GuestIf{Addrs: []string{"192.0.2.50/24", "192.0.2.51/24"}, MTU: 1600}))
	for _, command := range []string{"link add o0 type veth peer name o0-peer", "link set o0 up", "link set o0-peer up"} {
		w.ip(s.host.Node, command)
	}
	w.ip(s.collector, "addr add "+secondCollectorAddr+"/24 dev eth0")
	for _, p := range []string{"vnet0", "vnet1"} {
		w.macs[p] = w.mac(w.guests[p], "eth0")
	}
	w.macs["far0"] = w.mac(w.far, "eth0")
	w.farTo = w.mac(s.host.Node, "br-ul")
	w.foreign = rapid.SampledFrom(foreignKinds).Draw(m.r, "else on the host")
	w.addForeign()

	w.before = foreignState(s, "br-ul", "br0")
	w.wire = s.capture(s.collector, "eth0", "proto 47 or ip6 proto 47")
	w.outputs["an0"] = s.capture(w.guests["an0"], "eth0", "ether proto 0x88b5")
	w.outputs["o0"] = s.capture(s.host.Node, "o0-peer", "ether proto 0x88b5")
	w.production = []*traffic{w.traffic(s.a, s.b, addrA, addrB), w.traffic(s.b, s.a, addrB, addrA)}
	m.Cleanup(func() {
		if w.daemon != nil {
			_ = w.daemon.Kill(context.WithoutCancel(s.ctx))
		}
	})
	return w
}

func (w *world) ip(n *lab.Node, command string) {
	w.t.Helper()
	_, _, err := n.Exec(w.ctx, append([]string{"ip"}, strings.Fields(command)...)...)
	w.must(err)
}

func (w *world) mac(n *lab.Node, dev string) net.HardwareAddr {
	w.t.Helper()
	mac, err := n.MAC(w.ctx, dev)
	w.must(err)
	return mac
}

// attach gives c a port, or gives it back to it.
func (w *world) attach(port string) {
	w.t.Helper()
	w.must(w.host.Attach(w.ctx, w.guests[port], "br0", port, lab.GuestIf{}))
	w.macs[port] = w.mac(w.guests[port], "eth0")
}

// addForeign programs what others have on the bridge, again where a restart of ovs-vswitchd took it.
func (w *world) addForeign() {
	w.t.Helper()
	switch w.foreign {
	case "a pipeline":
		w.addForeignFlows()
	case "a mirror":
		w.vsctl("add-port", "br0", "theirs", "--", "set", "interface", "theirs", "type=internal",
			"--", "--id=@o", "get", "port", "theirs", "--", "--id=@s", "get", "port", "vnet1",
			"--", "--id=@m", "create", "mirror", "name=theirs", "select_src_port=@s", "output_port=@o", "external_ids:owner=them",
			"--", "set", "bridge", "br0", "mirrors=@m")
	}
}

func (w *world) addForeignFlows() {
	w.t.Helper()
	if w.foreign != "a pipeline" {
		return
	}
	for _, f := range []string{
		"table=0,priority=100,arp,actions=NORMAL", "table=0,priority=90,ip,actions=resubmit(,10)", "table=0,priority=0,actions=resubmit(,10)",
		"table=10,priority=50,ip,actions=load:1->NXM_NX_REG0[],resubmit(,20)", "table=10,priority=40,actions=resubmit(,20)",
		"table=20,cookie=0xe25a000000000001,priority=1,actions=NORMAL",
	} {
		w.ofctl("add-flow", "br0", f)
	}
}

// traffic is production between two guests: numbered datagrams, without end.
type traffic struct {
	sent     atomic.Int64 // datagrams
	mu       sync.Mutex
	received map[int64]bool
	strange  int   // datagrams that are not as they were sent
	from     int64 // the first that must arrive
	name     string
}

// trafficInterval is the time between two datagrams. A port of the userspace datapath holds some 270 of them while
// ovs-vswitchd does something else, or a busy machine does not let it run.
const trafficInterval = 10 * time.Millisecond

func (w *world) traffic(from, to *lab.Node, fromAddr, toAddr string) *traffic {
	w.t.Helper()
	const port = 7000
	tr := &traffic{received: map[int64]bool{}, name: fromAddr + " to " + toAddr}
	var in, out *net.UDPConn
	w.must(to.Do(func() (err error) {
		in, err = net.ListenUDP("udp", &net.UDPAddr{IP: net.ParseIP(toAddr), Port: port})
		return err
	}))
	w.must(from.Do(func() (err error) {
		out, err = net.DialUDP("udp", &net.UDPAddr{IP: net.ParseIP(fromAddr), Port: port + 1}, &net.UDPAddr{IP: net.ParseIP(toAddr), Port: port})
		return err
	}))
	content := func(n int64) []byte { return append(be.BigEndian.AppendUint64(nil, uint64(n)), "production's own"...) }
	stop, stopped := make(chan struct{}), make(chan struct{}, 2)
	go func() {
		defer func() { stopped <- struct{}{} }()
		tick := time.NewTicker(trafficInterval)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
				_, _ = out.Write(content(tr.sent.Load())) // what cannot be sent does not arrive
				tr.sent.Add(1)
			}
		}
	}()
	go func() {
		defer func() { stopped <- struct{}{} }()
		buf := make([]byte, 1500)
		for {
			n, err := in.Read(buf)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err != nil {
				continue
			}
			tr.mu.Lock()
			if seq := int64(0); n >= 8 {
				seq = int64(be.BigEndian.Uint64(buf))
				if bytes.Equal(buf[:n], content(seq)) && !tr.received[seq] {
					tr.received[seq] = true
				} else {
					tr.strange++
				}
			} else {
				tr.strange++
			}
			tr.mu.Unlock()
		}
	}()
	w.t.Cleanup(func() {
		close(stop)
		in.Close()
		out.Close()
		<-stopped
		<-stopped
	})
	w.must(tr.flows(w.ctx))
	return tr
}

// flows waits until traffic flows, and takes what was lost before for no loss.
func (tr *traffic) flows(ctx context.Context) error {
	begin := tr.sent.Load()
	return lab.Until(ctx, "production flows from "+tr.name, func(context.Context) error {
		tr.mu.Lock()
		defer tr.mu.Unlock()
		for n := begin; n < tr.sent.Load(); n++ {
			if tr.received[n] && tr.received[n+1] && tr.received[n+2] {
				tr.from = n
				return nil
			}
		}
		return errors.New("nothing arrives")
	})
}

// lost are the datagrams that have not arrived of those sent by now.
func (tr *traffic) lost(ctx context.Context) (missing []int64, strange int, err error) {
	end := tr.sent.Load()
	look := func() {
		tr.mu.Lock()
		defer tr.mu.Unlock()
		missing, strange = nil, tr.strange
		for n := tr.from; n < end; n++ {
			if !tr.received[n] {
				missing = append(missing, n)
			}
		}
	}
	deadline := time.Now().Add(3 * time.Second)
	err = lab.Until(ctx, "production arrives", func(context.Context) error {
		if look(); len(missing) > 0 && time.Now().Before(deadline) {
			return errors.New("not yet")
		}
		return nil
	})
	tr.from = end
	return missing, strange, err
}

// outage notes that a fault of the test stopped production itself: it is waited for until it flows again.
func (w *world) outage() {
	w.t.Helper()
	for _, tr := range w.production {
		w.must(tr.flows(w.ctx))
	}
}

func (w *world) checkProduction() {
	w.t.Helper()
	for _, tr := range w.production {
		missing, strange, err := tr.lost(w.ctx)
		w.must(err)
		if len(missing) > 0 || strange > 0 {
			w.fail("production lost something", "%s: %d datagrams are missing (%v), %d altered or twice", tr.name, len(missing), missing[:min(len(missing), 30)], strange)
		}
	}
}

// fail ends the sequence with the promise that was not kept.
func (w *world) fail(promise, format string, args ...any) {
	w.t.Helper()
	w.t.Logf(format, args...)
	w.t.Fatalf("%s", promise)
}

// tell logs how it came to a failure.
func (w *world) tell() {
	w.t.Helper()
	w.t.Logf("after:\n  %s", strings.Join(w.history, "\n  "))
	r := w.oe("session", "list", "-o", "wide")
	w.t.Logf("sessions:\n%s%s", r.stdout, r.stderr)
	if w.daemon != nil {
		w.t.Logf("the daemon's log:\n%s", tail(w.daemon.Stderr(), 40))
	}
}

// check holds the promises.
func (w *world) check(*rapid.T) {
	w.t.Helper()
	if w.steps > modelMost {
		return
	}
	if w.daemon != nil {
		w.settle()
	}
	w.checkProduction()
	w.checkForeign()
	if w.maybe == nil {
		w.checkShown()
	}
	w.checkCopies()
	w.checkProduction() // the probes' time, too
}

// settle waits until the daemon has put the wish in force. One that died of a kill point leaves that to the next.
func (w *world) settle() {
	w.t.Helper()
	err := lab.Until(w.ctx, "the daemon has put the wish in force", func(context.Context) error {
		if w.doomed {
			select {
			case <-w.daemon.Done():
				return nil
			default:
			}
		}
		return w.asWished()
	})
	if err != nil {
		w.fail("the daemon does not put the wish in force", "%v", err)
	}
	if err := w.asWished(); err != nil {
		w.daemon = nil // dead
		w.maybe = append(w.maybe, w.wish.clone())
		return
	}
	select {
	case <-w.daemon.Done():
		if !w.doomed {
			w.fail("the daemon ended by itself", "%s", tail(w.daemon.Stderr(), 40))
		}
		w.daemon = nil
	default:
	}
	w.maybe, w.unknown = nil, false
}

// asWished tells what separates what is in force from the model.
func (w *world) asWished() error {
	r := w.oe("plan")
	if r.code != 0 || !strings.Contains(r.stdout, "nothing to do") {
		return fmt.Errorf("plan: exit %d\n%s%s", r.code, r.stdout, r.stderr)
	}
	r = w.oe("session", "list", "-o", "json")
	var list []shown
	if err := json.Unmarshal([]byte(r.stdout), &list); err != nil {
		return fmt.Errorf("session list: exit %d, %w: %s", r.code, err, r.stderr)
	}
	got, want := map[string]string{}, map[string]string{}
	for _, v := range list {
		if v.Name != "(unmatched)" {
			got[v.Name] = v.Status.State
			if v.Status.State == "Active" || v.Status.State == "Degraded" {
				got[v.Name] += fmt.Sprint(", id ", v.Effective.SessionID)
			}
		}
	}
	for name, s := range w.wish {
		state := s.state(w.on)
		if want[name] = state; state == "Active" || state == "Degraded" {
			want[name] += fmt.Sprint(", id ", s.id)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		return fmt.Errorf("sessions (-wished +shown):\n%s", diff)
	}
	return nil
}

func (w *world) checkShown() {
	w.t.Helper()
	if err := w.asWished(); err != nil {
		w.fail("what is shown is not as wished", "%v", err)
	}
}

// ownCookie begins the cookies of the flows that we may add to a production bridge.
const ownCookie = "cookie=0xe25a"

// checkForeign holds that what is others' is as it was. Our flows on br0 may be there, as many as the wish has.
func (w *world) checkForeign() {
	w.t.Helper()
	now := foreignState(w.scene, "br-ul", "br0")
	const onBridge = "flows of br0"
	added := subtract(now[onBridge], w.before[onBridge])
	now[onBridge] = slices.DeleteFunc(now[onBridge], func(f string) bool { return slices.Contains(added, f) && strings.Contains(f, ownCookie) })
	if diff := cmp.Diff(w.before, now); diff != "" {
		w.fail("what is others' is not as it was", "(-before +now)\n%s", diff)
	}
	if want := w.wish.deliveryFlows(); w.maybe == nil && len(added) != want {
		w.fail("other flows of ours on the production bridge than wished", "%d, want %d: %v", len(added), want, added)
	}
}

// Marks around a probe's name, which stands in the frame.
const markBegin, markEnd = "{probe ", "}"

func checksum(data []byte) uint32 { return crc32.ChecksumIEEE(data) }

// checkCopies sends probes and holds that their copies are those that the model predicts.
func (w *world) checkCopies() {
	w.t.Helper()
	w.probe++
	w.learn()
	frames, erspans := w.probes()
	for _, port := range w.there() {
		var own [][]byte
		for _, f := range frames {
			if f.in == port {
				own = append(own, f.data)
			}
		}
		w.must(lab.SendRaw(w.ctx, w.guests[port], "eth0", own, 0))
	}
	var packets [][]byte
	for _, e := range erspans {
		packets = append(packets, e.packet)
	}
	w.must(lab.SendRaw(w.ctx, w.far, "eth0", packets, 0))
	w.passed()
	got := w.arrived()
	expect := func(x wish) (lines []string) {
		for _, f := range frames {
			lines = append(lines, x.copies(w.on, f)...)
		}
		for _, e := range erspans {
			if output := x.delivery(e.header); output != "" {
				lines = append(lines, deliveredLine(output, e.inner))
			}
		}
		return lines
	}
	switch {
	case w.maybe == nil:
		want := expect(w.wish)
		missing, extra := subtract(want, got), subtract(got, want)
		if len(missing)+len(extra) > 0 {
			w.fail("copies are not as wished", "of %d: %d are missing:\n  %s\n%d are too many:\n  %s", len(want),
				len(missing), strings.Join(missing, "\n  "), len(extra), strings.Join(extra, "\n  "))
		}
	case !w.unknown:
		// Between two wishes each copy must be one that either has.
		var any []string
		for _, x := range append(w.maybe, w.wish) {
			any = append(any, expect(x)...)
		}
		if extra := subtract(got, any); len(extra) > 0 {
			w.fail("copies that nobody wished", "%s", strings.Join(extra, "\n"))
		}
	}
}

// passed is fence, and tells the history where a ping is lost: the underlay carries production, too.
func (w *world) passed() {
	w.t.Helper()
	p, err := lab.Ping(w.ctx, w.collector, netip.MustParseAddr(hostAddr), lab.PingOptions{Count: 3, Interval: 10 * time.Millisecond})
	w.must(err)
	if p.Received != p.Sent {
		w.fail("a ping over the underlay was lost", "%s", p.Output)
	}
}

// there are the guests' ports that are on br0 now.
func (w *world) there() []string {
	return slices.DeleteFunc(slices.Sorted(maps.Keys(w.guests)), func(p string) bool { return p == "an0" || !w.on.ports[p] })
}

// learn has br0 know where the guests are, as it does where they talk: a frame to an unknown guest goes to all. So do
// running flows, until the revalidators have seen what was learned: what learns wakes the main loop, that wakes them.
func (w *world) learn() {
	w.t.Helper()
	learned := false
	w.must(lab.Until(w.ctx, "br0 knows where the guests are", func(context.Context) error {
		fdb, err := w.host.Appctl(w.ctx, "fdb/show", "br0")
		if err != nil {
			return err
		}
		for _, port := range w.there() {
			if strings.Contains(fdb, w.macs[port].String()) {
				continue
			}
			w.must(lab.SendRaw(w.ctx, w.guests[port], "eth0", [][]byte{rawFrame(w.macs["vnet0"], w.macs[port], 0, 60)}, 0))
			learned, err = true, fmt.Errorf("not %s:\n%s", port, fdb)
		}
		return err
	}))
	for range 2 {
		if learned {
			w.appctl("revalidator/wait")
		}
	}
}

// modelAddr is the address in the frames of the guest at a port. The guests do not have it: they answer nothing.
func modelAddr(port string) string {
	return "10.0.1." + strconv.Itoa(int(port[len(port)-1]-'0')+1)
}

// erspanProbe is an ERSPAN packet from elsewhere.
type erspanProbe struct {
	header        header
	inner, packet []byte
}

func deliveredLine(port string, inner []byte) string {
	return "delivered to " + port + ": " + printable(inner)
}

// probes are frames between the guests, from each to each other and to all, and ERSPAN packets from elsewhere.
func (w *world) probes() (frames []frame, erspans []erspanProbe) {
	everyone := func(but string) (out []string) {
		for p, there := range w.on.ports {
			if there && p != but {
				out = append(out, p)
			}
		}
		return out
	}
	name := func() string { return fmt.Sprintf("%s%d.%d%s", markBegin, w.probe, len(frames)+len(erspans), markEnd) }
	for _, in := range w.there() {
		for _, out := range append(w.there(), "") {
			if in == out {
				continue
			}
			for n := range 2 {
				f := frame{kind: (w.probe*2 + len(frames)/2 + n*3) % len(frameKinds), in: in, out: []string{out}}
				to, address := w.macs[out], "10.0.1.255"
				if out == "" {
					to, f.out = net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, everyone(in)
				} else {
					address = modelAddr(out)
				}
				f.data = probeFrame(to, w.macs[in], f.kind, modelAddr(in), address, name())
				if p := frameKinds[f.kind].protocol; p != "" && p != "tcp6" {
					f.from, f.to = modelAddr(in), address
				}
				frames = append(frames, f)
			}
		}
	}
	for _, h := range []header{
		{from: "192.0.2.50", version: 1, sessionID: 7, index: 0},
		{from: "192.0.2.51", version: 1, sessionID: 7, index: 5},
		{from: "192.0.2.50", version: 1, sessionID: 8, index: 5},
		{from: "192.0.2.50", version: 2, sessionID: 7, hwid: 0, d: 0},
		{from: "192.0.2.51", version: 2, sessionID: 7, hwid: 4, d: 1},
		{from: "192.0.2.50", version: 2, sessionID: 8, hwid: 6, d: 0},
		{from: "192.0.2.51", version: 2, sessionID: 8, hwid: 4, d: 0},
	} {
		inner := marked(name(), 100+len(erspans))
		erspans = append(erspans, erspanProbe{h, inner, toAddress(h.packet(w.farTo, w.macs["far0"], inner), hostAddr)})
	}
	return frames, erspans
}

// probeFrame is a frame of a kind. The checksums of its transport header are zero: nobody looks at them.
func probeFrame(dst, src net.HardwareAddr, kind int, from, to, name string) []byte {
	k := frameKinds[kind]
	payload := append([]byte(name), make([]byte, 40+20*kind)...)
	ports := be.BigEndian.AppendUint16(be.BigEndian.AppendUint16(nil, uint16(k.srcPort)), uint16(k.dstPort))
	var l4 []byte
	protocol := byte(0)
	switch k.protocol {
	case "tcp", "tcp6":
		protocol = 6
		l4 = append(ports, 0, 0, 0, 1, 0, 0, 0, 1, 5<<4, 0x10, 0xff, 0xff, 0, 0, 0, 0)
	case "udp":
		protocol = 17
		l4 = append(be.BigEndian.AppendUint16(ports, uint16(8+len(payload))), 0, 0)
	case "icmp":
		protocol = 1
		l4 = []byte{0, 0, 0, 0, 0, 1, 0, 1} // an answer that nobody asked for
	default:
		return slices.Concat(dst, src, []byte{0x88, 0xb5}, payload)
	}
	l4 = append(l4, payload...)
	if k.protocol == "tcp6" {
		ip := be.BigEndian.AppendUint16([]byte{0x60, 0, 0, 0}, uint16(len(l4)))
		ip = append(ip, protocol, 64)
		ip = append(ip, netip.MustParseAddr("2001:db8:1::1").AsSlice()...)
		ip = append(ip, netip.MustParseAddr("2001:db8:1::2").AsSlice()...)
		return slices.Concat(dst, src, []byte{0x86, 0xdd}, ip, l4)
	}
	ip := be.BigEndian.AppendUint16([]byte{0x45, 0}, uint16(20+len(l4)))
	ip = append(ip, 0, 0, 0, 0, 64, protocol, 0, 0)
	ip = append(ip, netip.MustParseAddr(from).AsSlice()...)
	ip = append(ip, netip.MustParseAddr(to).AsSlice()...)
	be.BigEndian.PutUint16(ip[10:], headerSum(ip))
	return slices.Concat(dst, src, []byte{0x08, 0x00}, ip, l4)
}

// headerSum is the checksum of an IPv4 header in which it is zero (RFC 791, section 3.1).
func headerSum(header []byte) uint16 {
	sum := uint32(0)
	for i := 0; i < len(header); i += 2 {
		sum += uint32(be.BigEndian.Uint16(header[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

// toAddress is an IPv4 packet in Ethernet, to another address.
func toAddress(packet []byte, to string) []byte {
	copy(packet[14+16:], netip.MustParseAddr(to).AsSlice())
	be.BigEndian.PutUint16(packet[14+10:], 0)
	be.BigEndian.PutUint16(packet[14+10:], headerSum(packet[14:14+20]))
	return packet
}

// arrived are the copies of this step's probes at the collector, as tshark reads them, and what was delivered.
func (w *world) arrived() (lines []string) {
	w.t.Helper()
	mark := []byte(fmt.Sprintf("%s%d.", markBegin, w.probe))
	mine := func(f lab.Frame) bool { return bytes.Contains(f.Data, mark) }
	wire, err := w.wire.Only(w.ctx, mine)
	w.must(err)
	var copies []lab.Mirrored
	if wire.Stats().Captured > 0 {
		copies, err = wire.Copies(w.ctx, "")
		w.must(err)
	}
	for _, c := range copies {
		field := func(names ...string) int {
			for _, name := range names {
				if text, ok := c.Fields[name]; ok {
					n, err := strconv.ParseInt(text, 0, 64)
					w.must(err)
					return int(n)
				}
			}
			return -1
		}
		to := c.Fields["ip.dst"] + c.Fields["ipv6.dst"]
		version := map[int]int{0x88be: 1, 0x22eb: 2}[field("gre.proto")]
		if field("erspan.version") != version {
			w.fail("a copy's header contradicts itself", "%v", c.Fields)
		}
		lines = append(lines, wireLine(to, field("ip.dsfield", "ipv6.tclass")>>2, version, field("erspan.spanid"), field("erspan.index"), field("erspan.hw"), field("erspan.direction"), c.Inner))
	}
	for port, c := range w.outputs {
		frames, err := c.Frames(w.ctx)
		w.must(err)
		for _, f := range frames {
			// Not what production itself sends there, to all.
			if mine(f) && !bytes.Equal(f.Data[:6], []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}) {
				lines = append(lines, deliveredLine(port, f.Data))
			}
		}
	}
	return lines
}

// end takes everything away and holds that nothing is left.
func (w *world) end() {
	w.t.Helper()
	w.history = append(w.history, "uninstall, at the end")
	w.ok("uninstall", "--yes")
	w.wish, w.maybe, w.unknown = wish{}, nil, false
	if w.daemon != nil {
		// One that was told to die at a step may have died of this uninstall.
		if err := w.daemon.Stop(w.ctx); err != nil && !strings.Contains(err.Error(), "signal: killed") {
			w.t.Fatal(err)
		}
		w.daemon = nil
	}
	w.steps = 0
	w.check(nil)
	rows, err := w.host.DumpRows(w.ctx)
	w.must(err)
	if diff := cmp.Diff(w.before["rows"], rows.Lines()); diff != "" {
		w.fail("uninstall left a trace", "(-before +now)\n%s", diff)
	}
}

// file is a file with a content, until the lab ends.
func (w *world) file(content string) string {
	w.t.Helper()
	f, err := os.CreateTemp(w.host.RunDir(), "sessions-*.yaml") // goes with the lab, however that ends
	w.must(err)
	defer f.Close()
	_, err = f.WriteString(content)
	w.must(err)
	return f.Name()
}
