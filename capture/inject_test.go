//go:build linux

package capture

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/ovs-erspan/ovs-erspan/erspan"
)

// A device that takes next to nothing costs frames, which are counted, and no more than a moment: a write that waited
// for it would never return here.
func TestInjectorIntoAFullDevice(t *testing.T) {
	left, _ := veth(t)
	for _, queue := range []string{
		"tbf rate 8bit burst 1600 limit 3000", // the queue refuses: ENOBUFS
		"tbf rate 8bit burst 1600 limit 100m", // the queue takes what the socket may have in flight: EAGAIN
	} {
		// No subtests: those would run on other threads, in another namespace.
		if out, err := exec.Command(tool(t, "tc"), strings.Fields("qdisc replace dev "+left+" root "+queue)...).CombinedOutput(); err != nil {
			t.Fatalf("tc: %v\n%s", err, out)
		}
		j, err := NewInjector(left)
		if err != nil {
			t.Fatal(err)
		}
		const frames = 2000
		r := &Record{Packet: erspan.Packet{Inner: make([]byte, 1500)}}
		for range frames {
			if err := j.Write(r); err != nil {
				t.Fatal(err)
			}
		}
		if j.Sent == 0 || j.Dropped == 0 || j.Sent+j.Dropped != frames {
			t.Errorf("%s: %d sent, %d dropped, of %d", queue, j.Sent, j.Dropped, frames)
		}
		if err := j.Close(); err != nil {
			t.Error(err)
		}
	}
}
