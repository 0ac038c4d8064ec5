//go:build linux

package e2e

import (
	"strings"
	"testing"
)

// TestSameTunnelAsOpenVSwitchSees: which ports of others a session's own tunnel port cannot be beside is what Open vSwitch
// itself makes of the two, however addresses and keys are written.
func TestSameTunnelAsOpenVSwitchSees(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	for _, tt := range []struct{ theirs, flags, ours string }{
		{"remote_ip=192.0.2.9 key=100", "--dscp 46", "remote_ip=192.0.2.9 key=100 tos=0xb8"},
		{"remote_ip=192.0.2.9 key=0x64", "--dscp 46", "remote_ip=192.0.2.9 key=100 tos=0xb8"},
		{"remote_ip=192.0.2.9 in_key=100 out_key=5", "--dscp 46", "remote_ip=192.0.2.9 key=100 tos=0xb8"},
		{"remote_ip=192.0.2.9 in_key=5 out_key=100", "--dscp 46", "remote_ip=192.0.2.9 key=100 tos=0xb8"},
		{"remote_ip=192.0.2.9 in_key=5 key=100", "--dscp 46", "remote_ip=192.0.2.9 key=100 tos=0xb8"},
		{"remote_ip=192.0.2.9 key=flow", "--dscp 46", "remote_ip=192.0.2.9 key=100 tos=0xb8"},
		{"remote_ip=192.0.2.9 key=100 local_ip=192.0.2.1", "--dscp 46", "remote_ip=192.0.2.9 key=100 tos=0xb8"},
		{"remote_ip=192.0.2.9 key=100 local_ip=192.0.2.1", "--origin 192.0.2.1", "remote_ip=192.0.2.9 key=100 local_ip=192.0.2.1"},
		{"remote_ip=192.0.2.9 key=100 packet_type=ptap", "--dscp 46", "remote_ip=192.0.2.9 key=100 tos=0xb8"},
		{"remote_ip=192.0.2.8 key=100", "--dscp 46", "remote_ip=192.0.2.9 key=100 tos=0xb8"},
		{"remote_ip=::ffff:192.0.2.9 key=100", "--dscp 46", "remote_ip=192.0.2.9 key=100 tos=0xb8"},
		{"remote_ip=2001:DB8:0::9 key=100", "--dscp 46 --collector 2001:db8::9", "remote_ip=2001:db8::9 key=100 tos=0xb8"},
		{"remote_ip=2001:db8::9 key=100 local_ip=2001:db8:0:0::1", "--collector 2001:db8::9 --origin 2001:db8::1", "remote_ip=2001:db8::9 key=100 local_ip=2001:db8::1"},
	} {
		port := func(name, options string) []string {
			args := []string{"--", "add-port", "br-ul", name, "--", "set", "interface", name, "type=erspan", "options:erspan_ver=1"}
			for _, o := range strings.Fields(options) {
				args = append(args, "options:"+o)
			}
			return args
		}
		s.vsctl(port("theirs", tt.theirs)[1:]...)
		if !strings.Contains(tt.flags, "--collector") {
			tt.flags += " --collector " + collectorAddr
		}
		r := s.oe(append([]string{"session", "add", "one", "--dry-run", "--bridge", "br0", "--source", "vnet0", "--session-id", "100"}, strings.Fields(tt.flags)...)...)
		// Newer releases' ovs-vsctl also says that ovs-vswitchd could not open the port.
		if _, err := s.host.Vsctl(s.ctx, port("ours", tt.ours)[1:]...); err != nil && !strings.Contains(err.Error(), "could not add network device") {
			t.Fatal(err)
		}
		out, err := s.host.Vsctl(s.ctx, "get", "interface", "ours", "ofport")
		s.must(err)
		number := strings.TrimSpace(out)
		s.vsctl("del-port", "ours", "--", "del-port", "theirs")
		clash := number == "-1"
		if refused := strings.Contains(r.stderr, `"theirs"`); refused != clash {
			t.Errorf("beside %s, %s: refused is %v; Open vSwitch gives such ports number %s: exit %d: %s", tt.theirs, tt.flags, refused, number, r.code, r.stderr)
		}
	}
}
