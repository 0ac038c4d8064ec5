package vswitchd

import (
	"context"
	"encoding/json"
	"net"
	"net/netip"
	"path/filepath"
	"runtime"
	"testing"
	"time"
)

// FuzzAnswer: whatever answers at the control socket, as it is or as the result of a call, each question ends with what was
// read or an error, and takes memory in proportion to it.
func FuzzAnswer(f *testing.F) {
	for _, text := range []string{
		"", "null", "{}", "[", `{"id":0,"result":"","error":null}`, `{"id":0,"result":null,"error":"no such command"}`, `{"result":3}`, `{"result":"a","error":"b"}{"result":`,
	} {
		f.Add([]byte(text), true)
	}
	for _, text := range []string{
		"ovs-vswitchd (Open vSwitch) 3.1.0\nDPDK 22.11.4", "\n", " ",
		"src 192.0.2.1\ngateway 192.0.2.254\ndev br-ul\n", "src\ngateway ::\ndev", "gateway 0.0.0.0\nsrc ::ffff:192.0.2.1",
		"IP   MAC   Bridge\n=====\n192.0.2.9   aa:bb:cc:dd:ee:ff   br-ul\n2001:db8::9%x  y  z\n",
		"netdev@ovs-netdev:\n  flows         : (current 3) (avg 2) (max 5) (limit 10000)\n", "system@ovs-system:\n  flows : (current )\n(current 99999999999999999999)",
		"tunneling from 02:00:00:00:00:01 192.0.2.1 to 02:00:00:00:00:02 192.0.2.9\n", "tunneling from a b to c",
	} {
		f.Add([]byte(text), false)
	}
	// One socket for all: what it answers is changed between the questions, one at a time in this process.
	path := filepath.Join(f.TempDir(), "ctl")
	listener, err := net.Listen("unix", path)
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { listener.Close() })
	says := make(chan []byte, 1)
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			text := <-says
			says <- text
			go func() {
				defer conn.Close()
				_ = conn.SetDeadline(time.Now().Add(time.Minute))
				if _, err := conn.Read(make([]byte, 4096)); err == nil {
					_, _ = conn.Write(text)
				}
			}()
		}
	}()
	client := Open(Options{RunDir: filepath.Dir(path), Control: path})
	f.Fuzz(func(t *testing.T, text []byte, raw bool) {
		if !raw {
			var err error
			if text, err = json.Marshal(map[string]any{"id": 0, "result": string(text), "error": nil}); err != nil {
				t.Fatal(err)
			}
		}
		says <- text
		defer func() { <-says }()
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		to := netip.MustParseAddr("192.0.2.9")
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for question, ask := range map[string]func() (read int, err error){
			"version":          func() (int, error) { v, err := client.Version(ctx); return len(v), err },
			"tnl/neigh/show":   func() (int, error) { n, err := client.Neighbors(ctx); return len(n), err },
			"upcall/show":      func() (int, error) { n, err := client.Megaflows(ctx); return len(n), err },
			"ovs/route/lookup": func() (int, error) { r, err := client.Routes(ctx, []netip.Addr{to}); return len(r) - 1, err },
			"dpif/dump-flows":  func() (int, error) { out, err := client.DumpMegaflows(ctx, "br0"); return len(out), err },
			"trace-packet-out": func() (int, error) { _, err := client.TunnelSource(ctx, "br0", "drop"); return 0, err },
		} {
			read, err := ask()
			if ctx.Err() != nil {
				t.Fatalf("%s does not end", question)
			}
			if err == nil && read > 3*len(text)+2 {
				t.Errorf("%s: %d of %d bytes", question, read, len(text))
			}
		}
		runtime.ReadMemStats(&after)
		if used := after.TotalAlloc - before.TotalAlloc; used > 1<<20+uint64(len(text))*1000 {
			t.Errorf("%d bytes of memory for %d that were read", used, len(text))
		}
	})
}
