package vswitchd_test

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ovs-erspan/ovs-erspan/vswitchd"
)

// Who answers at a socket of the run directory.
func works(r request) map[string]any {
	switch r.Method {
	case "version":
		return result("ovs-vswitchd (Open vSwitch) 3.1.0\n")
	case "upcall/show", "echo":
		return result("it works")
	}
	return map[string]any{"result": nil, "error": "no such command"}
}

// another is of another database, and has its own bridge.
func another(r request) map[string]any {
	if r.Method == "ofproto/list" {
		return result("br9\n")
	}
	return works(r)
}

func idle(r request) map[string]any {
	if r.Method == "version" {
		return result("ovs-vswitchd (Open vSwitch) 3.1.0\n")
	}
	return map[string]any{"result": nil, "error": `"` + r.Method + `" is not a valid command`}
}

func database(r request) map[string]any {
	if r.Method == "version" {
		return result("ovsdb-server (Open vSwitch) 3.1.0\n")
	}
	return map[string]any{"result": nil, "error": "no such command"}
}

func hangs(request) map[string]any { return nil }

// TestFind: where no bridge tells whose the control socket is, it is the one that answers as an ovs-vswitchd that works;
// what hangs beside it holds nothing up for long. (With bridges, and several processes: TestControlSocket of e2e.)
func TestFind(t *testing.T) {
	type sockets map[string]func(request) map[string]any
	for name, test := range map[string]struct {
		at      sockets
		options vswitchd.Options
		folder  string
		fault   []string // of the error; none: it is found
	}{
		"usual name":              {at: sockets{"ovs-vswitchd.7.ctl": works}},
		"of a package with DPDK":  {at: sockets{"ovs-vswitchd-dpdk.7.ctl": works}},
		"any name":                {at: sockets{"odd": works, "other": database}},
		"an idle one beside":      {at: sockets{"ovs-vswitchd.7.ctl": idle, "ovs-vswitchd.8.ctl": works}},
		"a hung one beside":       {at: sockets{"ovs-vswitchd.7.ctl": hangs, "ovs-vswitchd.8.ctl": works}},
		"in a long folder":        {at: sockets{"ovs-vswitchd.7.ctl": works}, folder: strings.Repeat("x", 120)},
		"named":                   {at: sockets{"odd.sock": works, "ovs-vswitchd.7.ctl": idle}, options: vswitchd.Options{Control: "odd.sock"}},
		"bridges of another":      {at: sockets{"br9.mgmt": hangs, "ovs-vswitchd.7.ctl": works}, options: vswitchd.Options{Known: func() vswitchd.Known { return vswitchd.Known{Bridges: []string{"br0"}} }}},
		"by the bridge's process": {at: sockets{"br0.mgmt": hangs, "ovs-vswitchd.7.ctl": works, "odd": works}},
		"by it, with any name": {at: sockets{"br0.mgmt": hangs, "odd": works, "vhost0": hangs},
			options: vswitchd.Options{Known: func() vswitchd.Known { return vswitchd.Known{Bridges: []string{"br0"}, Ports: []string{"vhost0"}} }}},

		"two that work": {at: sockets{"one": works, "two": works}, fault: []string{"2 sockets", "one, two", "--vswitchd-ctl"}},
		"only an idle one": {at: sockets{"ovs-vswitchd.7.ctl": idle, "ovsdb-server.1.ctl": database, "br0.snoop": works},
			fault: []string{"not running", "ovs-vswitchd.7.ctl: is an ovs-vswitchd that serves no bridge", "--vswitchd-ctl"}},
		"only another's": {at: sockets{"ovs-vswitchd.7.ctl": another}, options: vswitchd.Options{Known: func() vswitchd.Known { return vswitchd.Known{Bridges: []string{"br0"}} }},
			fault: []string{"not running", "ovs-vswitchd.7.ctl: is the ovs-vswitchd of other bridges (br9)"}},
		"another's beside":     {at: sockets{"ovs-vswitchd.7.ctl": another, "ovs-vswitchd.8.ctl": works}, options: vswitchd.Options{Known: func() vswitchd.Known { return vswitchd.Known{Bridges: []string{"br0"}} }}},
		"none":                 {fault: []string{"not running", "--vswitchd-ctl"}},
		"named, and not there": {options: vswitchd.Options{Control: "nowhere"}, fault: []string{"not running", "nowhere"}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), test.folder)
			if err := os.MkdirAll(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			for socket, answer := range test.at {
				listen(t, filepath.Join(dir, socket), answer)
			}
			test.options.RunDir = dir
			if test.options.Control != "" {
				test.options.Control = filepath.Join(dir, test.options.Control)
			}
			c := vswitchd.Open(test.options)
			for range 2 { // the second time it is known
				begin := time.Now()
				got, err := c.Call(t.Context(), "echo")
				if took := time.Since(begin); took > 5*time.Second {
					t.Errorf("it took %v", took)
				}
				if len(test.fault) == 0 && (err != nil || got != "it works") {
					t.Errorf("%q, %v", got, err)
				}
				for _, text := range test.fault {
					if err == nil || !strings.Contains(err.Error(), text) {
						t.Errorf("%v: want an error with %q", err, text)
					}
				}
			}
		})
	}
}

// TestFindAgain: what was found is looked for again when nobody listens there any more.
func TestFindAgain(t *testing.T) {
	dir := t.TempDir()
	first, err := net.Listen("unix", filepath.Join(dir, "ovs-vswitchd.7.ctl"))
	if err != nil {
		t.Fatal(err)
	}
	first.(*net.UnixListener).SetUnlinkOnClose(false) // as a crash leaves it
	first.Close()
	listen(t, filepath.Join(dir, "ovs-vswitchd.8.ctl"), works)
	c := vswitchd.New(dir)
	if _, err := c.Call(t.Context(), "echo"); err != nil {
		t.Fatal(err)
	}
	was := c.Instance()
	if err := os.Rename(filepath.Join(dir, "ovs-vswitchd.8.ctl"), filepath.Join(dir, "ovs-vswitchd.9.ctl")); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Call(t.Context(), "echo"); err != nil {
		t.Fatal(err)
	}
	if c.Instance() == was {
		t.Errorf("it is another, and still %q", was)
	}
}
