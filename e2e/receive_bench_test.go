//go:build linux

package e2e

import (
	"context"
	wire "encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ovs-erspan/ovs-erspan/e2e/lab"
)

// The load of BenchmarkReceive: ERSPAN Type III of two sessions in both directions, with mirrored frames of 128 bytes.
const (
	loadFrames = 400_000
	loadRate   = 200_000 // a second
	loadChunk  = 20_000
	loadInner  = 128
)

// BenchmarkReceive: frames that arrive over a veth pair at a fixed rate are written to a file by `ovs-erspan capture`,
// which takes the mirrored frames out, by tcpdump and by tshark, which write what came. In turns, on the same load; how
// many frames each has kept, and what CPU time each took a frame, with all its processes.
func BenchmarkReceive(b *testing.B) {
	buildFast(b)
	for range b.N {
		s := newLab(b)
		from, to := s.guest("sender"), s.guest("col")
		s.collector = to
		s.must(lab.Connect(s.ctx, from, lab.NodeIf{Dev: "eth0", Addrs: []string{hostAddr + "/24"}}, to, lab.NodeIf{Dev: "eth0", Addrs: []string{collectorAddr + "/24"}}, 1500))
		receivers := []struct {
			name, ready string
			args        []string // the file's name follows
			cpu         []float64
			kept        int
		}{
			{name: "ours", ready: "receiving on", args: []string{binary, "capture", "-i", "eth0", "-w"}},
			{name: "tcpdump", ready: "listening on", args: []string{"tcpdump", "-Z", "root", "-n", "-i", "eth0", "proto 47", "-w"}},
			{name: "tshark", ready: "Capturing on", args: []string{"tshark", "-n", "-q", "-i", "eth0", "-f", "proto 47", "-w"}},
		}
		const rounds = 5
		for range rounds {
			for i := range receivers {
				r := &receivers[i]
				file := filepath.Join(s.lab.Dir(), r.name+".out")
				cpu, kept := s.receiveLoad(from, append(slices.Clone(r.args), file), r.ready, file)
				r.cpu = append(r.cpu, cpu)
				r.kept += kept
				s.must(os.Remove(file))
			}
		}
		for i := range receivers {
			r := &receivers[i]
			slices.Sort(r.cpu)
			b.ReportMetric(r.cpu[rounds/2], "ns-CPU/frame-"+r.name)
			b.ReportMetric(100*float64(r.kept)/(rounds*loadFrames), "%-kept-"+r.name)
			if i > 0 {
				b.ReportMetric(receivers[0].cpu[rounds/2]/r.cpu[rounds/2], "ratio-to-"+r.name)
			}
		}
		b.ReportMetric(0, "ns/op")
	}
}

// receiveLoad runs a receiver while the load comes in: the CPU time in ns that it took for each frame, and how many frames
// are in its file.
func (s *scene) receiveLoad(from *lab.Node, args []string, ready, file string) (cpu float64, kept int) {
	s.t.Helper()
	p, err := s.collector.Start(s.ctx, lab.Command{Args: args})
	s.must(err)
	s.must(lab.Until(s.ctx, args[0]+" receives", func(context.Context) error {
		if !strings.Contains(p.Stderr(), ready) {
			return errors.New(p.Stderr())
		}
		return nil
	}))
	// tshark says that it captures before it does; by then the kernel knows of a packet socket.
	s.must(lab.Until(s.ctx, args[0]+" listens", func(ctx context.Context) error {
		out, _, err := s.collector.Exec(ctx, "cat", "/proc/net/packet")
		if err == nil && strings.Count(out, "\n") < 2 {
			err = errors.New("no packet socket")
		}
		return err
	}))
	before := s.cpuTime()
	s.sendLoad(from)
	// What has arrived is read when the CPU time stands still.
	var after time.Duration
	s.must(lab.Until(s.ctx, args[0]+" has read all", func(context.Context) error {
		was := after
		after = s.cpuTime()
		if after-was > time.Millisecond {
			return errors.New("it is busy")
		}
		return nil
	}))
	s.must(p.Stop(s.ctx))
	out, _, err := s.collector.Exec(s.ctx, "tcpdump", "-Z", "root", "--count", "-r", file)
	s.must(err)
	kept, err = strconv.Atoi(strings.Fields(out)[0])
	s.must(err)
	return float64((after - before).Nanoseconds()) / loadFrames, kept
}

// sendLoad sends the load.
func (s *scene) sendLoad(from *lab.Node) {
	s.t.Helper()
	header, err := hex.DecodeString(strings.ReplaceAll("020000000002 020000000001 0800"+
		"4500 00a8 0000 4000 40 2f 0000 c0000201 c0000209"+
		"1000 22eb 00000000"+
		"2000 0064 00000000 0000 0000", " ", ""))
	s.must(err)
	size := len(header) + loadInner
	wire.BigEndian.PutUint16(header[16:], uint16(size-14))
	frames := make([][]byte, loadChunk)
	for i := range frames {
		frames[i] = append(header[:len(header):len(header)], make([]byte, loadInner)...)
		frames[i][45] += uint8(i & 1)            // session
		frames[i][53] = uint8(i&2) << 2          // direction
		copy(frames[i][54+12:], []byte{8, 0})    // mirrored IPv4
		copy(frames[i][54+14:], []byte{0x45, 0}) // of which nobody looks at more
	}
	began := time.Now()
	for sent := 0; sent < loadFrames; sent += loadChunk {
		now := uint32(time.Now().UnixMicro() / 100)
		for i, f := range frames {
			wire.BigEndian.PutUint32(f[38:], uint32(sent+i))
			wire.BigEndian.PutUint32(f[46:], now)
		}
		s.must(lab.SendRaw(s.ctx, from, "eth0", frames, loadRate))
	}
	if rate := loadFrames / time.Since(began).Seconds(); rate < loadRate/2 {
		s.t.Logf("only %.0f frames a second were sent", rate)
	}
}

// cpuTime is what the processes in the collector's network namespace have run so far, by the scheduler's account.
func (s *scene) cpuTime() (total time.Duration) {
	s.t.Helper()
	ns, err := os.Readlink(s.collector.NetNS())
	s.must(err)
	tasks, err := filepath.Glob("/proc/[0-9]*/task/[0-9]*")
	s.must(err)
	for _, task := range tasks {
		if its, err := os.Readlink(task + "/ns/net"); err != nil || its != ns {
			continue
		}
		b, err := os.ReadFile(task + "/schedstat")
		if err != nil {
			continue // it has ended
		}
		var ran int64
		if _, err := fmt.Sscan(string(b), &ran); err != nil {
			s.t.Fatal(err)
		}
		total += time.Duration(ran)
	}
	return total
}
