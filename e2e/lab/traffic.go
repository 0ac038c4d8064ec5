//go:build linux

package lab

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// PingOptions says what Ping sends; the zero value is one packet of 56 bytes.
type PingOptions struct {
	Count    int           // 0 is 1
	Interval time.Duration // between packets; 0 is 10 ms
	Size     int           // bytes after the ICMP header; 0 is 56
	Wait     time.Duration // for the last reply; 0 is 1 s
	Args     []string      // more arguments of ping(8), such as -M do, -Q 0x28, -I eth1
}

// PingResult is what ping(8) counted.
type PingResult struct {
	Sent, Received, Duplicates, Errors int
	Output                             string
}

var (
	pingSummary    = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`(\d+) packets transmitted, (\d+) received`) })
	pingDuplicates = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`\+(\d+) duplicates`) })
	pingErrors     = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`\+(\d+) errors`) })
)

// Ping sends echo requests from a node. That replies are missing is a result and not an error.
//
// ping(8) waits for the last reply for no longer than two round trips or the interval, once it had one: on a busy machine
// a reply comes later than that. So where it misses some, those that the kernel sees within the wait count too; not so
// where another ping runs on the same node.
func Ping(ctx context.Context, from *Node, dst netip.Addr, o PingOptions) (PingResult, error) {
	count, interval, size, wait := max(o.Count, 1), o.Interval, o.Size, o.Wait
	if interval == 0 {
		interval = 10 * time.Millisecond
	}
	if size == 0 {
		size = 56
	}
	if wait == 0 {
		wait = time.Second
	}
	// A busy machine lets ping send later than it wants to.
	ctx, cancel := context.WithTimeout(ctx, 5*time.Duration(count)*interval+wait+30*time.Second)
	defer cancel()
	args := []string{"ping", "-n",
		"-c", strconv.Itoa(count),
		"-i", strconv.FormatFloat(interval.Seconds(), 'f', 4, 64),
		"-s", strconv.Itoa(size),
		"-W", strconv.FormatFloat(wait.Seconds(), 'f', 3, 64)}
	before, err := from.echoReplies(dst.Is6())
	if err != nil {
		return PingResult{}, fmt.Errorf("ping %s from %s: %w", dst, from, err)
	}
	begin := time.Now()
	out, stderr, err := from.Exec(ctx, append(append(args, o.Args...), dst.String())...)
	m := pingSummary().FindStringSubmatch(out)
	if m == nil {
		if err == nil {
			err = errors.New("no summary")
		}
		return PingResult{}, fmt.Errorf("ping %s from %s: %w in %q %q", dst, from, err, out, stderr)
	}
	number := func(m []string, i int) int {
		if m == nil {
			return 0
		}
		n, _ := strconv.Atoi(m[i])
		return n
	}
	r := PingResult{
		Sent: number(m, 1), Received: number(m, 2),
		Duplicates: number(pingDuplicates().FindStringSubmatch(out), 1),
		Errors:     number(pingErrors().FindStringSubmatch(out), 1),
		Output:     out,
	}
	for end := begin.Add(time.Duration(count)*interval + wait); r.Received < r.Sent && r.Errors == 0 && time.Now().Before(end); {
		seen, err := from.echoReplies(dst.Is6())
		if err != nil {
			return r, fmt.Errorf("ping %s from %s: %w", dst, from, err)
		}
		r.Received = max(r.Received, min(r.Sent, seen-before-r.Duplicates))
		time.Sleep(pollInterval)
	}
	return r, nil
}

// echoReplies is how many echo replies the node's kernel has received.
func (n *Node) echoReplies(v6 bool) (count int, err error) {
	err = n.Do(func() error {
		file, field := "/proc/thread-self/net/snmp", "InEchoReps"
		if v6 {
			file, field = "/proc/thread-self/net/snmp6", "Icmp6InEchoReplies"
		}
		text, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		// snmp6 has a name and a value a line; snmp a line of names and a line of values for each protocol.
		var names []string
		for line := range strings.Lines(string(text)) {
			f := strings.Fields(line)
			if v6 && len(f) == 2 && f[0] == field {
				count, err = strconv.Atoi(f[1])
				return err
			}
			if i := slices.Index(names, field); !v6 && i > 0 && len(f) == len(names) && f[0] == names[0] {
				count, err = strconv.Atoi(f[i])
				return err
			}
			names = f
		}
		return fmt.Errorf("%s has no %s", file, field)
	})
	return count, err
}

// SendRaw sends whole Ethernet frames, as they are, out of a device of a node, at most pps a second (0: 2000).
func SendRaw(ctx context.Context, n *Node, dev string, frames [][]byte, pps int) error {
	fail := func(err error) error { return fmt.Errorf("send frames from %q of %s: %w", dev, n, err) }
	fd := -1
	to := unix.SockaddrLinklayer{Halen: 6}
	err := n.Do(func() error {
		iface, err := net.InterfaceByName(dev)
		if err != nil {
			return err
		}
		to.Ifindex = iface.Index
		// Protocol 0: this socket receives nothing.
		fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		return err
	})
	if err != nil {
		return fail(err)
	}
	defer unix.Close(fd)
	pace := newPace(pps, 2000)
	for i, f := range frames {
		if err := pace.wait(ctx); err != nil {
			return fail(fmt.Errorf("after %d of %d: %w", i, len(frames), err))
		}
		if len(f) < 14 {
			return fail(fmt.Errorf("frame %d has %d bytes: less than an Ethernet header", i, len(f)))
		}
		copy(to.Addr[:6], f)
		for {
			err := unix.Sendto(fd, f, 0, &to)
			if errors.Is(err, unix.EINTR) || errors.Is(err, unix.ENOBUFS) && ctx.Err() == nil {
				continue
			}
			if err != nil {
				return fail(fmt.Errorf("frame %d of %d bytes: %w", i, len(f), err))
			}
			break
		}
	}
	return nil
}

// pace spreads packets over time, in bursts of what is due at each tick of a coarse clock.
type pace struct {
	pps   int
	begin time.Time
	sent  int
}

func newPace(pps, otherwise int) *pace {
	if pps <= 0 {
		pps = otherwise
	}
	return &pace{pps: pps, begin: time.Now()}
}

// wait returns when the next packet is due.
func (p *pace) wait(ctx context.Context) error {
	due := p.begin.Add(time.Duration(p.sent) * time.Second / time.Duration(p.pps))
	p.sent++
	ahead := time.Until(due)
	if ahead < time.Millisecond {
		return ctx.Err()
	}
	timer := time.NewTimer(ahead)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Burst says what UDPBurst sends.
type Burst struct {
	Dst   netip.Addr // of the receiver; the zero Addr is its Addr()
	Port  uint16     // of the receiver; 0 lets the kernel choose
	Src   netip.Addr // of the sender; the zero Addr leaves it to routing
	Count int        // datagrams; 0 is 1
	Size  int        // of a datagram's payload, at least 8; 0 is 64
	PPS   int        // at most; 0 is 1000
	TOS   int        // of the datagrams, as the IPv4 type of service or the IPv6 traffic class
	// Linger is how long after the last datagram that arrived the receiver waits for more, where some are missing;
	// 0 is 500 ms.
	Linger time.Duration
}

// BurstResult is what came of a burst. Missing and Altered hold sequence numbers, from 0.
type BurstResult struct {
	Sent       int
	Received   int // different datagrams that arrived as they were sent
	Duplicates int
	Missing    []int
	Altered    []int // arrived with another length or content
	Foreign    int   // arrived, but from no such burst
}

// mostUnderWay is how many datagrams of a burst are between sender and receiver at most: fewer than fit into the socket from
// which Open vSwitch takes them (some 90 of full size). A busy machine may not let it run for a second, which is no loss of a switch's.
const mostUnderWay = 64

// UDPBurst sends numbered datagrams with known contents from one node to another and says which arrived, unaltered.
// That some are missing is a result and not an error. Where the receiver falls behind, the sender waits for it.
func UDPBurst(ctx context.Context, from, to *Node, b Burst) (BurstResult, error) {
	fail := func(err error) (BurstResult, error) {
		return BurstResult{}, fmt.Errorf("UDP burst from %s to %s: %w", from, to, err)
	}
	b.Count = max(b.Count, 1)
	if b.Size == 0 {
		b.Size = 64
	}
	if b.Size < 8 || b.Size > 65507 {
		return fail(fmt.Errorf("size %d: want 8 to 65507", b.Size))
	}
	if b.Linger == 0 {
		b.Linger = 500 * time.Millisecond
	}
	if !b.Dst.IsValid() {
		b.Dst = to.Addr()
	}
	if !b.Dst.IsValid() {
		return fail(errors.New("the receiver has no address"))
	}

	var in, out *net.UDPConn
	err := to.Do(func() (err error) {
		in, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(b.Dst, b.Port)))
		return err
	})
	if err != nil {
		return fail(err)
	}
	defer in.Close()
	_ = in.SetReadBuffer(4 << 20) // a loss in this test's own socket would look like one on the way
	var src *net.UDPAddr
	if b.Src.IsValid() {
		src = net.UDPAddrFromAddrPort(netip.AddrPortFrom(b.Src, 0))
	}
	err = from.Do(func() (err error) {
		out, err = net.DialUDP("udp", src, in.LocalAddr().(*net.UDPAddr))
		return err
	})
	if err != nil {
		return fail(err)
	}
	defer out.Close()
	if b.TOS != 0 {
		if err := setTOS(out, b.TOS, b.Dst.Is6()); err != nil {
			return fail(err)
		}
	}

	r := &burstReceiver{conn: in, size: b.Size, seen: make([]bool, b.Count)}
	received := make(chan error, 1)
	go func() { received <- r.run() }()
	sent, sendErr := sendBurst(ctx, out, b, r)
	if sendErr == nil {
		sendErr = r.quiet(ctx, b.Linger)
	}
	_ = in.SetReadDeadline(time.Unix(1, 0)) // ends the receiver
	if err := errors.Join(sendErr, <-received); err != nil {
		return fail(err)
	}
	result := r.result
	result.Sent = sent
	for i, ok := range r.seen {
		if !ok && !slices.Contains(result.Altered, i) {
			result.Missing = append(result.Missing, i)
		}
	}
	return result, nil
}

// burstPayload is the content of a datagram: its number, and bytes that follow from it.
func burstPayload(seq, size int) []byte {
	p := make([]byte, size)
	binary.BigEndian.PutUint64(p, uint64(seq))
	fill := rand.New(rand.NewPCG(uint64(seq), uint64(size)))
	for i := 8; i < size; i++ {
		p[i] = byte(fill.Uint32())
	}
	return p
}

func sendBurst(ctx context.Context, out *net.UDPConn, b Burst, r *burstReceiver) (sent int, err error) {
	pace := newPace(b.PPS, 1000)
	for i := range b.Count {
		if err := errors.Join(pace.wait(ctx), r.keepUp(ctx, i)); err != nil {
			return sent, fmt.Errorf("sent %d of %d: %w", sent, b.Count, err)
		}
		// An ICMP error for an earlier datagram is reported here, once: it says nothing about this one.
		_, err := out.Write(burstPayload(i, b.Size))
		for try := 0; try < 3 && (errors.Is(err, unix.ECONNREFUSED) || errors.Is(err, unix.EHOSTUNREACH)); try++ {
			_, err = out.Write(burstPayload(i, b.Size))
		}
		if err != nil {
			return sent, fmt.Errorf("sent %d of %d: %w", sent, b.Count, err)
		}
		sent++
	}
	return sent, nil
}

// burstReceiver notes which datagrams of a burst arrive.
type burstReceiver struct {
	conn *net.UDPConn
	size int

	mu     sync.Mutex
	seen   []bool
	last   time.Time // of the latest arrival
	next   int       // what was sent before it has arrived, or is given up
	result BurstResult
}

// run reads until the socket's deadline.
func (r *burstReceiver) run() error {
	buf := make([]byte, 1<<16)
	for {
		n, err := r.conn.Read(buf)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("receive: %w", err)
		}
		r.note(buf[:n])
	}
}

func (r *burstReceiver) note(got []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.last = time.Now()
	seq := uint64(len(r.seen))
	if len(got) >= 8 {
		seq = binary.BigEndian.Uint64(got)
	}
	switch {
	case seq >= uint64(len(r.seen)):
		r.result.Foreign++
	case !bytes.Equal(got, burstPayload(int(seq), r.size)):
		r.result.Altered = append(r.result.Altered, int(seq))
	case r.seen[seq]:
		r.result.Duplicates++
	default:
		r.seen[seq] = true
		r.result.Received++
	}
	if seq < uint64(len(r.seen)) {
		r.next = max(r.next, int(seq)+1)
	}
}

// keepUp waits until not too many datagrams are under way of those that were sent; where nothing arrives for a second, they
// are given up.
func (r *burstReceiver) keepUp(ctx context.Context, sent int) error {
	begin := time.Now()
	for {
		r.mu.Lock()
		if last := r.last; time.Since(begin) > time.Second && time.Since(last) > time.Second {
			r.next = sent
		}
		underWay := sent - r.next
		r.mu.Unlock()
		if underWay < mostUnderWay {
			return nil
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		time.Sleep(pollInterval)
	}
}

// quiet waits until nothing has arrived for a while: for linger, or, once everything is there, for as long as a
// duplicate takes. It gives up on quiet after 10 s.
func (r *burstReceiver) quiet(ctx context.Context, linger time.Duration) error {
	const duplicates = 20 * time.Millisecond
	begin := time.Now()
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for {
		r.mu.Lock()
		last, enough := r.last, linger
		if r.result.Received == len(r.seen) {
			enough = min(linger, duplicates)
		}
		r.mu.Unlock()
		if last.Before(begin) {
			last = begin
		}
		if time.Since(last) >= enough || time.Since(begin) > 10*time.Second {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// setTOS sets the type of service, or the traffic class, of what a socket sends.
func setTOS(c *net.UDPConn, tos int, v6 bool) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return fmt.Errorf("set type of service: %w", err)
	}
	level, option := unix.IPPROTO_IP, unix.IP_TOS
	if v6 {
		level, option = unix.IPPROTO_IPV6, unix.IPV6_TCLASS
	}
	var optErr error
	err = raw.Control(func(fd uintptr) { optErr = unix.SetsockoptInt(int(fd), level, option, tos) })
	if err := errors.Join(err, optErr); err != nil {
		return fmt.Errorf("set type of service: %w", err)
	}
	return nil
}

// TCPTransfer sends n random bytes over a TCP connection from one node to an address of another (the zero Addr is its
// Addr()) and fails unless they arrive as they were sent, by SHA-256 at both ends. Without a deadline in ctx it may
// take 60 s.
func TCPTransfer(ctx context.Context, from, to *Node, dst netip.Addr, n int64) error {
	if err := tcpTransfer(ctx, from, to, dst, n); err != nil {
		return fmt.Errorf("TCP transfer of %d bytes from %s to %s: %w", n, from, to, err)
	}
	return nil
}

func tcpTransfer(ctx context.Context, from, to *Node, dst netip.Addr, n int64) error {
	ctx, cancel := bounded(ctx, time.Minute)
	defer cancel()
	if !dst.IsValid() {
		dst = to.Addr()
	}
	if !dst.IsValid() {
		return errors.New("the receiver has no address")
	}
	var listener *net.TCPListener
	err := to.Do(func() (err error) {
		listener, err = net.ListenTCP("tcp", net.TCPAddrFromAddrPort(netip.AddrPortFrom(dst, 0)))
		return err
	})
	if err != nil {
		return err
	}
	defer listener.Close()
	deadline, _ := ctx.Deadline()
	_ = listener.SetDeadline(deadline)
	stop := context.AfterFunc(ctx, func() { _ = listener.Close() })
	defer stop()

	type sum struct {
		bytes int64
		hash  [sha256.Size]byte
		err   error
	}
	received := make(chan sum, 1)
	go func() {
		var s sum
		defer func() { received <- s }()
		conn, err := listener.AcceptTCP()
		if err != nil {
			s.err = fmt.Errorf("accept: %w", err)
			return
		}
		defer conn.Close()
		_ = conn.SetDeadline(deadline)
		stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
		defer stop()
		h := sha256.New()
		if s.bytes, err = io.Copy(h, conn); err != nil {
			s.err = fmt.Errorf("receive: %w", err)
		}
		h.Sum(s.hash[:0])
	}()

	h := sha256.New()
	err = from.Do(func() error {
		var d net.Dialer
		conn, err := d.DialContext(ctx, "tcp", listener.Addr().String())
		if err != nil {
			return err
		}
		defer conn.Close()
		_ = conn.SetDeadline(deadline)
		stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
		defer stop()
		var seed [32]byte
		binary.BigEndian.PutUint64(seed[:], uint64(n))
		if _, err := io.Copy(io.MultiWriter(h, conn), io.LimitReader(rand.NewChaCha8(seed), n)); err != nil {
			return fmt.Errorf("send: %w", err)
		}
		return nil
	})
	if err != nil {
		_ = listener.Close()
		return errors.Join(err, (<-received).err)
	}
	got := <-received
	switch {
	case got.err != nil:
		return got.err
	case got.bytes != n:
		return fmt.Errorf("%d bytes arrived", got.bytes)
	case !bytes.Equal(got.hash[:], h.Sum(nil)):
		return fmt.Errorf("SHA-256 %x was sent and %x arrived", h.Sum(nil), got.hash)
	}
	return nil
}
