package capture

import (
	"io"
	"testing"
	"time"

	"github.com/ovs-erspan/ovs-erspan/erspan"
)

// BenchmarkReceive is what a packet costs from the ring to the pcapng file, without the system's part.
func BenchmarkReceive(b *testing.B) {
	frames := make([][]byte, 1024)
	for i := range frames {
		frames[i] = ether(typeIII(b, uint16(100+i&1), 1_000_000+uint32(i), start.Add(time.Duration(i)*5*time.Microsecond), erspan.Direction(i>>1&1)))
	}
	d, w := NewDecoder(Options{}), NewPcapngWriter(io.Discard)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		f := frames[i%len(frames)]
		r := d.Decode(&Frame{Number: uint64(i), Time: start, Link: LinkEthernet, Data: f, WireLen: len(f)})
		if err := w.Write(r); err != nil {
			b.Fatal(err)
		}
	}
}
