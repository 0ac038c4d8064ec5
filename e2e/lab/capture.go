//go:build linux

package lab

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Capture is what tcpdump sees on a device of a node, in a file that others decode.
type Capture struct {
	node *Node
	dev  string
	file string
	proc *Process

	mu      sync.Mutex
	stopped bool
	stats   CaptureStats
	said    map[string]string // by tshark's arguments, of the first saidOf packets: asking again costs a start
	saidOf  int
}

// CaptureStats are tcpdump's own figures.
type CaptureStats struct {
	Captured int // written to the file
	Received int // by the filter, in the kernel; more than Captured where -Q left some out
	Dropped  int // by the kernel, for want of room: the file has a gap
}

// Capture starts tcpdump on a device of the node and returns when it listens. The filter is one of pcap-filter(7), empty
// for everything; a frame with a VLAN tag is not "ip". More arguments go to tcpdump, such as "-Q", "in".
func (n *Node) Capture(ctx context.Context, dev, filter string, args ...string) (*Capture, error) {
	c := &Capture{node: n, dev: dev, file: n.lab.newFile("%s-%s.pcap", n.name, dev)}
	// -U and --immediate-mode: a packet is in the file as soon as it was seen. -Z root: Debian's tcpdump becomes another
	// user, which could not write here and, by the change of credentials, would lose the parent-death signal.
	tcpdump := []string{"tcpdump", "-i", dev, "-w", c.file, "-U", "--immediate-mode", "-s", "0", "-B", "8192", "-n",
		"-Z", "root", "--time-stamp-precision=nano"}
	tcpdump = append(tcpdump, args...)
	if filter != "" {
		tcpdump = append(tcpdump, filter)
	}
	ctx, cancel := bounded(ctx, toolTimeout)
	defer cancel()
	p, err := n.Start(ctx, Command{Args: tcpdump})
	if err != nil {
		return nil, err
	}
	c.proc = p
	err = Until(ctx, fmt.Sprintf("tcpdump listens on %q of %s", dev, n), func(context.Context) error {
		select {
		case <-p.Done():
			return Permanent(p.result())
		default:
		}
		if !strings.Contains(p.Stderr(), "listening on ") {
			return fmt.Errorf("it says %q", p.Stderr())
		}
		return nil
	})
	if err != nil {
		return nil, errors.Join(err, p.terminate(time.Second))
	}
	return c, nil
}

func (c *Capture) String() string { return fmt.Sprintf("capture on %q of %s", c.dev, c.node) }

// File is the capture's file, in pcap format. It grows until Stop, and goes when the lab is closed.
func (c *Capture) File() string { return c.file }

var captureStats = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`(\d+) packets? captured,? *\n?(\d+) packets? received by filter,? *\n?(\d+) packets? dropped by kernel`)
})

func parseStats(stderr string) (stats CaptureStats, answers int) {
	all := captureStats().FindAllStringSubmatch(stderr, -1)
	if len(all) == 0 {
		return CaptureStats{}, 0
	}
	last := all[len(all)-1]
	stats.Captured, _ = strconv.Atoi(last[1])
	stats.Received, _ = strconv.Atoi(last[2])
	stats.Dropped, _ = strconv.Atoi(last[3])
	return stats, len(all)
}

// Flush waits until everything that the kernel has put aside for tcpdump is in the file. Packets that are still on
// their way to the device are not waited for: WaitCount does that.
func (c *Capture) Flush(ctx context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.flush(ctx)
}

// flush asks tcpdump for its figures (SIGUSR1) until it has written what it received. With -Q some are received and
// left out, so figures that stand still do too. The caller holds c.mu.
func (c *Capture) flush(ctx context.Context) error {
	if c.stopped {
		return nil
	}
	ctx, cancel := bounded(ctx, toolTimeout)
	defer cancel()
	const still = 8
	unchanged := 0
	asked := 0
	return Until(ctx, fmt.Sprintf("%s is written", c), func(context.Context) error {
		select {
		case <-c.proc.Done():
			return Permanent(fmt.Errorf("tcpdump ended: %w", errors.Join(c.proc.result(), errors.New(c.proc.Stderr()))))
		default:
		}
		stats, answers := parseStats(c.proc.Stderr())
		if answers < asked {
			return errors.New("tcpdump has not answered yet")
		}
		if asked > 0 {
			if stats == c.stats {
				unchanged++
			} else {
				unchanged = 0
			}
			c.stats = stats
			if stats.Captured+stats.Dropped >= stats.Received || unchanged >= still {
				return nil
			}
		}
		asked = answers + 1
		if err := c.proc.Signal(syscall.SIGUSR1); err != nil {
			return Permanent(err)
		}
		return fmt.Errorf("tcpdump's figures are %+v", stats)
	})
}

// Stop ends the capture when everything that was received is in the file. Packets that the kernel dropped are an error,
// since then the file does not show what was on the wire. It may be called more than once.
func (c *Capture) Stop(ctx context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stopped {
		return nil
	}
	flushErr := c.flush(ctx)
	stopErr := c.proc.Stop(ctx)
	c.stopped = true
	if err := errors.Join(flushErr, stopErr); err != nil {
		return fmt.Errorf("stop the %s: %w", c, err)
	}
	c.stats, _ = parseStats(c.proc.Stderr())
	if c.stats.Dropped > 0 {
		return fmt.Errorf("%s: the kernel dropped packets: %+v", c, c.stats)
	}
	return nil
}

// Stats are tcpdump's figures as of the last Flush or Stop.
func (c *Capture) Stats() CaptureStats {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.stats
}

// read flushes a capture that still runs, and runs a decoder over its file. A decoder may then meet a packet that is
// being written, which is no error.
func (c *Capture) read(ctx context.Context, args ...string) (string, error) {
	return c.readTo(ctx, nil, args...)
}

// readTo is read with what the decoder prints going to a file, unless that is nil.
func (c *Capture) readTo(ctx context.Context, to *os.File, args ...string) (string, error) {
	ctx, cancel := bounded(ctx, 2*toolTimeout)
	defer cancel()
	c.mu.Lock()
	err := c.flush(ctx)
	running := !c.stopped
	c.mu.Unlock()
	if err != nil {
		return "", err
	}
	// A user's own preferences must not change what is decoded.
	env := []string{"WIRESHARK_CONFIG_DIR=" + c.node.lab.dir + "/wireshark"}
	out, stderr, err := c.node.lab.run(ctx, nil, "lab", env, Command{Args: args, stdout: to})
	var exit *exec.ExitError
	if running && errors.As(err, &exit) && strings.Contains(stderr, "cut short") {
		err = nil
	}
	if err != nil {
		return "", fmt.Errorf("%s: %w", c, err)
	}
	return out, nil
}

// ask is read, or what that has said before where no packet has come since.
func (c *Capture) ask(ctx context.Context, args []string) (string, error) {
	if err := c.Flush(ctx); err != nil {
		return "", err
	}
	key := strings.Join(args, "\x00")
	c.mu.Lock()
	captured := c.stats.Captured
	if c.saidOf != captured {
		c.said, c.saidOf = nil, captured
	}
	said, known := c.said[key]
	c.mu.Unlock()
	if known {
		return said, nil
	}
	said, err := c.read(ctx, args...)
	c.mu.Lock()
	defer c.mu.Unlock()
	if err == nil && c.saidOf == captured && c.stats.Captured == captured {
		if c.said == nil {
			c.said = map[string]string{}
		}
		c.said[key] = said
	}
	return said, err
}

func (c *Capture) tshark(displayFilter string, args ...string) []string {
	tshark := []string{"tshark", "-n", "-r", c.file}
	if displayFilter != "" {
		tshark = append(tshark, "-Y", displayFilter)
	}
	return append(tshark, args...)
}

// Fields lets tshark decode the packets that meet a display filter (empty: all) and returns the named fields of each,
// in order. A field that occurs more than once in a packet, as ip.src does under ERSPAN, has all its values, from the
// outermost, separated by commas; one that does not occur is empty. A start of tshark costs about 0.2 s: ask for all
// fields at once.
func (c *Capture) Fields(ctx context.Context, displayFilter string, fields ...string) ([][]string, error) {
	if len(fields) == 0 {
		return nil, fmt.Errorf("%s: no fields asked for", c)
	}
	args := []string{"-T", "fields", "-E", "separator=/t", "-E", "occurrence=a", "-E", "aggregator=,"}
	for _, f := range fields {
		args = append(args, "-e", f)
	}
	out, err := c.ask(ctx, c.tshark(displayFilter, args...))
	if err != nil {
		return nil, err
	}
	rows := [][]string{}
	for line := range strings.Lines(out) {
		rows = append(rows, strings.Split(strings.TrimSuffix(line, "\n"), "\t"))
	}
	return rows, nil
}

// Count is how many packets meet a display filter of tshark (empty: all).
func (c *Capture) Count(ctx context.Context, displayFilter string) (int, error) {
	if displayFilter == "" {
		frames, err := c.Frames(ctx)
		return len(frames), err
	}
	rows, err := c.Fields(ctx, displayFilter, "frame.number")
	return len(rows), err
}

// WaitCount waits until at least n packets meet a display filter of tshark (empty: all).
func (c *Capture) WaitCount(ctx context.Context, displayFilter string, n int) error {
	least := n // packets in all, before which it cannot be: each look costs a start of tshark
	last := errors.New("no packet yet")
	return Until(ctx, fmt.Sprintf("%s has %d packets that meet %q", c, n, displayFilter), func(ctx context.Context) error {
		if err := c.Flush(ctx); err != nil {
			return Permanent(err)
		}
		captured := c.Stats().Captured
		if captured < least {
			if captured < n {
				last = fmt.Errorf("it has %d packets in all", captured)
			}
			return last
		}
		got, err := c.Count(ctx, displayFilter)
		if err != nil {
			return Permanent(err)
		}
		if got < n {
			least = captured + n - got
			last = fmt.Errorf("it has %d, of %d packets in all", got, captured)
			return last
		}
		return nil
	})
}

// Tcpdump is what tcpdump prints of the file, with arguments such as -v, -x or a filter.
func (c *Capture) Tcpdump(ctx context.Context, args ...string) (string, error) {
	return c.read(ctx, append([]string{"tcpdump", "-n", "-Z", "root", "-r", c.file}, args...)...)
}

// Frames are the captured frames.
func (c *Capture) Frames(ctx context.Context) ([]Frame, error) {
	c.mu.Lock()
	err := c.flush(ctx)
	running := !c.stopped
	c.mu.Unlock()
	if err != nil {
		return nil, err
	}
	f, err := os.Open(c.file)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c, err)
	}
	defer f.Close()
	frames, err := readPcap(f)
	if err != nil && (!running || !errors.Is(err, io.ErrUnexpectedEOF)) {
		return nil, fmt.Errorf("%s: %w", c, err)
	}
	return frames, nil
}

// InnerFrames are the mirrored frames in the ERSPAN packets that meet a display filter (empty: "gre"), in order, without
// what stood around them. A packet in which tshark finds no mirrored frame is an error.
func (c *Capture) InnerFrames(ctx context.Context, displayFilter string) ([][]byte, error) {
	copies, err := c.Copies(ctx, displayFilter)
	inner := [][]byte{}
	for _, m := range copies {
		inner = append(inner, m.Inner)
	}
	return inner, err
}

// Mirrored is an ERSPAN packet as tshark reads it.
type Mirrored struct {
	// Fields holds what the headers around the mirrored frame say, by tshark's names, such as "ip.dst", "gre.proto" and
	// "erspan.spanid", as tshark shows it.
	Fields map[string]string
	// Inner is the mirrored frame. Where it begins is what tshark says, and where it ends what the outer IP header says as
	// tshark reads it; so the test compares with a decoder that is not ours.
	Inner []byte
}

// Copies are the ERSPAN packets that meet a display filter (empty: "gre"), in order. A packet in which tshark finds no
// mirrored frame is an error.
func (c *Capture) Copies(ctx context.Context, displayFilter string) ([]Mirrored, error) {
	if displayFilter == "" {
		displayFilter = "gre"
	}
	// Of many packets it is hundreds of megabytes: one is read after another, from a file.
	pdml, err := os.Create(c.node.lab.newFile("%s-%s.pdml", c.node.name, c.dev))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c, err)
	}
	defer os.Remove(pdml.Name())
	defer pdml.Close()
	if _, err := c.readTo(ctx, pdml, c.tshark(displayFilter, "-T", "pdml", "-j", "frame eth ip ipv6 gre erspan")...); err != nil {
		return nil, err
	}
	if _, err := pdml.Seek(0, io.SeekStart); err != nil {
		return nil, fmt.Errorf("%s: %w", c, err)
	}
	frames, err := c.Frames(ctx)
	if err != nil {
		return nil, err
	}
	lines := bufio.NewScanner(pdml)
	lines.Buffer(nil, 1<<20)
	copies := []Mirrored{}
	for {
		p, err := nextPacket(lines)
		if err != nil {
			return nil, fmt.Errorf("%s: read what tshark says: %w", c, err)
		}
		if p == nil {
			return copies, nil
		}
		number, begin, end, err := p.inner()
		if err == nil && number > len(frames) {
			err = errors.New("not in the file")
		}
		var data []byte
		if err == nil {
			data = frames[number-1].Data
			end = min(end, len(data)) // the capture or the outer Ethernet may be shorter
			if begin > end {
				err = fmt.Errorf("the mirrored frame begins at %d, past its end at %d", begin, end)
			}
		}
		if err != nil {
			return nil, fmt.Errorf("%s: packet %d: %w", c, number, err)
		}
		copies = append(copies, Mirrored{Fields: p.around(), Inner: data[begin:end]})
	}
}

// Matching is a capture, at its end, of those frames so far that meet a filter of tcpdump (pcap-filter(7)).
func (c *Capture) Matching(ctx context.Context, filter string) (*Capture, error) {
	some := &Capture{node: c.node, dev: c.dev, file: c.node.lab.newFile("%s-%s-matching.pcap", c.node.name, c.dev), stopped: true}
	if _, err := c.Tcpdump(ctx, "-w", some.file, filter); err != nil {
		return nil, err
	}
	frames, err := some.Frames(ctx)
	some.stats.Captured, some.stats.Received = len(frames), len(frames)
	return some, err
}

// Only is a capture, at its end, of those frames so far that keep takes.
func (c *Capture) Only(ctx context.Context, keep func(Frame) bool) (*Capture, error) {
	all, err := c.Frames(ctx)
	if err != nil {
		return nil, err
	}
	some := &Capture{node: c.node, dev: c.dev, file: c.node.lab.newFile("%s-%s-only.pcap", c.node.name, c.dev), stopped: true}
	var kept []Frame
	for _, f := range all {
		if keep(f) {
			kept = append(kept, f)
		}
	}
	some.stats.Captured, some.stats.Received = len(kept), len(kept)
	if err := os.WriteFile(some.file, writePcap(kept), 0o600); err != nil {
		return nil, fmt.Errorf("%s: %w", c, err)
	}
	return some, nil
}

// pdmlPacket is a packet as tshark -T pdml prints it: every protocol and field with its place in the packet.
type pdmlPacket []pdmlProto

type pdmlProto struct {
	name   string
	pos    int
	fields []pdmlField // and those within them, in order
}

type pdmlField struct{ name, show string }

// nextPacket reads the next packet, nil at the end. tshark prints an element a line; a reader of any XML takes ten times as
// long, which counts where there are thousands of packets.
func nextPacket(lines *bufio.Scanner) (*pdmlPacket, error) {
	var p *pdmlPacket
	for lines.Scan() {
		switch element, attributes, _ := strings.Cut(strings.TrimSpace(lines.Text()), " "); {
		case element == "<packet>":
			p = &pdmlPacket{}
		case element == "</packet>":
			return p, nil
		case p == nil:
		case element == "<proto":
			pos, err := strconv.Atoi(attribute(attributes, "pos"))
			if err != nil {
				pos = -1 // of what tshark says of a packet as a whole
			}
			*p = append(*p, pdmlProto{name: attribute(attributes, "name"), pos: pos})
		case element == "<field" && len(*p) > 0:
			last := &(*p)[len(*p)-1]
			last.fields = append(last.fields, pdmlField{attribute(attributes, "name"), attribute(attributes, "show")})
		}
	}
	if err := lines.Err(); err != nil {
		return nil, err
	}
	if p != nil {
		return nil, io.ErrUnexpectedEOF
	}
	return nil, nil
}

// attribute is the value of an attribute in an XML tag. Quotes in values are escaped.
func attribute(tag, name string) string {
	_, value, _ := strings.Cut(" "+tag, " "+name+`="`)
	value, _, _ = strings.Cut(value, `"`)
	return value
}

// inner finds the mirrored frame: the first Ethernet header after the first GRE header.
func (p pdmlPacket) inner() (number, begin, end int, err error) {
	inGRE := false
	for _, proto := range p {
		find := func(field string) (int, error) {
			for _, f := range proto.fields {
				if f.name == field {
					return strconv.Atoi(f.show)
				}
			}
			return 0, fmt.Errorf("tshark shows no %s", field)
		}
		var n int
		switch {
		case proto.name == "frame":
			number, err = find("frame.number")
		case proto.name == "ip" && !inGRE:
			n, err = find("ip.len")
			end = proto.pos + n
		case proto.name == "ipv6" && !inGRE:
			n, err = find("ipv6.plen")
			end = proto.pos + 40 + n
		case proto.name == "gre":
			inGRE = true
		case proto.name == "eth" && inGRE && proto.pos >= 0:
			return number, proto.pos, end, nil
		}
		if err != nil {
			return number, 0, 0, err
		}
	}
	return number, 0, 0, errors.New("tshark finds no Ethernet frame after GRE")
}

// around is what the fields of the headers before the mirrored frame say, those within other fields too.
func (p pdmlPacket) around() map[string]string {
	fields := map[string]string{}
	inGRE := false
	for _, proto := range p {
		if proto.name == "eth" && inGRE {
			break
		}
		inGRE = inGRE || proto.name == "gre"
		for _, f := range proto.fields {
			if _, outer := fields[f.name]; !outer {
				fields[f.name] = f.show
			}
		}
	}
	return fields
}
