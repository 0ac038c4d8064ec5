package vswitchd_test

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/netip"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ovs-erspan/ovs-erspan/unixsocket"
	"github.com/ovs-erspan/ovs-erspan/vswitchd"
)

// request is what a fake ovs-vswitchd is asked.
type request struct {
	ID     int
	Method string
	Params []string
}

// serve is a fake ovs-vswitchd: answer is called for each request, and its nil is no answer at all.
func serve(t *testing.T, answer func(request) map[string]any) *vswitchd.Client {
	t.Helper()
	dir := t.TempDir()
	listen(t, filepath.Join(dir, "br0.mgmt"), func(request) map[string]any { return nil })
	listen(t, filepath.Join(dir, "ovs-vswitchd.77.ctl"), answer)
	return vswitchd.New(dir)
}

// listen answers at a socket.
func listen(t *testing.T, path string, answer func(request) map[string]any) {
	t.Helper()
	short, release, err := unixsocket.Short(path)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("unix", short)
	release()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				in := json.NewDecoder(conn)
				for {
					var r request
					if in.Decode(&r) != nil {
						return
					}
					if reply := answer(r); reply != nil {
						reply["id"] = r.ID
						if json.NewEncoder(conn).Encode(reply) != nil {
							return
						}
					}
				}
			}()
		}
	}()
}

func result(text string) map[string]any { return map[string]any{"result": text, "error": nil} }

func TestCall(t *testing.T) {
	c := serve(t, func(r request) map[string]any {
		switch r.Method {
		case "echo":
			return result(strings.Join(r.Params, "+"))
		case "fail":
			return map[string]any{"result": nil, "error": "no such thing\n"}
		case "empty":
			return map[string]any{"result": nil, "error": nil}
		}
		return nil
	})
	if got, err := c.Call(t.Context(), "echo", "a", "b c"); err != nil || got != "a+b c" {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := c.Call(t.Context(), "fail"); err == nil || err.Error() != "fail: no such thing" {
		t.Error(err)
	}
	if _, err := c.Call(t.Context(), "empty"); err == nil {
		t.Error("no error where nothing is replied")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := c.Call(ctx, "hang"); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	if _, err := vswitchd.New(t.TempDir()).Call(t.Context(), "echo"); err == nil || !strings.Contains(err.Error(), "not running") {
		t.Error(err)
	}
}

func TestNeighbors(t *testing.T) {
	c := serve(t, func(request) map[string]any {
		return result(`IP                                            MAC                 Bridge
==========================================================================
192.0.2.9                                     aa:bb:cc:dd:ee:ff   br-ul
2001:db8::9                                   aa:bb:cc:dd:ee:ff   br-ul
192.0.2.9                                     aa:bb:cc:dd:ee:00   br-two
nonsense
`)
	})
	got, err := c.Neighbors(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	four, six := netip.MustParseAddr("192.0.2.9"), netip.MustParseAddr("2001:db8::9")
	want := map[string]map[netip.Addr]bool{"br-ul": {four: true, six: true}, "br-two": {four: true}}
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Error(diff)
	}
}

// TestWaitRevalidated: a touch comes first, and the main loop goes round; then a touch comes after each wait has begun, and
// the second round's end is what counts; the main loop is kept awake until then.
func TestWaitRevalidated(t *testing.T) {
	var waits, pokes, touches atomic.Int32
	c := serve(t, func(r request) map[string]any {
		if r.Method != "revalidator/wait" {
			if touches.Load() == 0 {
				t.Error("asked before the change was touched")
			}
			pokes.Add(1)
			return result("")
		}
		n := waits.Add(1)
		if n == 1 && pokes.Load() < 2 {
			t.Errorf("the first wait began after %d turns of the main loop", pokes.Load())
		}
		for before := pokes.Load(); touches.Load() < n+1 || pokes.Load() < before+2; {
			if t.Context().Err() != nil {
				return nil
			}
			runtime.Gosched() // the fake's main loop: it goes round when it is poked
		}
		return result("")
	})
	touch := func(context.Context) error { touches.Add(1); return nil }
	if err := c.WaitRevalidated(t.Context(), touch); err != nil || waits.Load() != 2 || touches.Load() != 3 {
		t.Errorf("%d waits, %d touches, %v", waits.Load(), touches.Load(), err)
	}
	refuses := serve(t, func(r request) map[string]any {
		if r.Method == "revalidator/wait" {
			return map[string]any{"result": nil, "error": "can't wait on multiple udpifs."}
		}
		return result("")
	})
	if err := refuses.WaitRevalidated(t.Context(), touch); err != nil {
		t.Errorf("two kinds of datapath: %v", err)
	}
	if err := c.WaitRevalidated(t.Context(), func(context.Context) error { return errors.New("no bridge") }); err == nil || err.Error() != "no bridge" {
		t.Error(err)
	}
}

// TestEndlessAnswer: who answers without end takes neither memory nor time without end.
func TestEndlessAnswer(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "any.ctl")
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				chunk := []byte(strings.Repeat("x", 1<<20))
				_, err := conn.Write([]byte(`{"id":0,"error":null,"result":"`))
				for err == nil {
					_, err = conn.Write(chunk)
				}
			}()
		}
	}()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	_, err = vswitchd.Open(vswitchd.Options{RunDir: dir, Control: path}).Call(ctx, "version")
	runtime.ReadMemStats(&after)
	if err == nil || !strings.Contains(err.Error(), "more than") || ctx.Err() != nil {
		t.Errorf("an endless answer: %v", err)
	}
	if took := after.TotalAlloc - before.TotalAlloc; took > 200<<20 {
		t.Errorf("it took %d MB of memory", took>>20)
	}
}

// TestSilence: who does not answer in time is named, in words for people, and the error is still the context's.
func TestSilence(t *testing.T) {
	c := serve(t, func(request) map[string]any { return nil })
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := c.Call(ctx, "version")
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "ovs-vswitchd does not answer") || strings.Contains(err.Error(), "deadline") {
		t.Errorf("of one that is silent: %v", err)
	}
}
