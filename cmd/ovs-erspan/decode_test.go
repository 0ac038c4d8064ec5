package main

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/ovs-erspan/ovs-erspan/erspan"
)

// erspanFile is a raw IP pcap with one packet each of session 100 (version 2, egress) and 10 (version 1), and a broken one.
func erspanFile(t *testing.T) []byte {
	t.Helper()
	inner := make([]byte, 60)
	inner[12], inner[13] = 0x88, 0xcc
	file := []byte("\xd4\xc3\xb2\xa1\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x04\x00\x65\x00\x00\x00")
	for i, h := range []erspan.Header{
		{Version: erspan.Version2, SessionID: 100, HardwareID: 7, Direction: erspan.Egress},
		{Version: erspan.Version1, SessionID: 10, Index: 5},
		{Version: erspan.Version1, SessionID: 11},
	} {
		p := erspan.Packet{
			Outer: erspan.Outer{Src: netip.MustParseAddr("192.0.2.1"), Dst: netip.MustParseAddr("192.0.2.9"), TTL: 64},
			GRE:   erspan.GREFor(h.Version, uint32(i)), Header: h, Inner: inner,
		}
		b, err := p.AppendIP(nil)
		if err != nil {
			t.Fatal(err)
		}
		if i == 2 {
			b = b[:30] // in the ERSPAN header
		}
		for _, v := range []uint32{1767366245, 0, uint32(len(b)), uint32(len(b))} {
			file = binary.LittleEndian.AppendUint32(file, v)
		}
		file = append(file, b...)
	}
	return file
}

// runReceiver runs a command of the receiver with the global flags as given.
func runReceiver(a *app, cmd *cobra.Command, args ...string) (out, errOut string, code int) {
	var stdout, stderr bytes.Buffer
	a.out, a.err = &stdout, &stderr
	cmd.SilenceUsage, cmd.SilenceErrors = true, true
	cmd.SetArgs(args)
	if err := cmd.Execute(); err != nil {
		code = exitCode(err)
		a.printError(err)
	}
	return stdout.String(), stderr.String(), code
}

func TestDecodeCommand(t *testing.T) {
	file := filepath.Join(t.TempDir(), "a.pcap")
	if err := os.WriteFile(file, erspanFile(t), 0o600); err != nil {
		t.Fatal(err)
	}
	decode := func(a *app, args ...string) (string, string, int) {
		return runReceiver(a, newDecodeCommand(a), args...)
	}

	out, errOut, code := decode(&app{output: "table"}, file)
	if code != 0 || strings.Count(out, "\n") != 3 || !strings.Contains(out, "ERSPAN III session 100 egress hwid 7 seq 0: ") ||
		!strings.Contains(errOut, "a.pcap: frame 3: ") {
		t.Errorf("text: exit code %d\n%s%s", code, out, errOut)
	}
	out, _, code = decode(&app{output: "table", in: bytes.NewReader(erspanFile(t))}, "-", "--session-id", "0xa")
	if code != 0 || strings.Count(out, "\n") != 1 || !strings.Contains(out, "ERSPAN II session 10 index 5 seq 1: ") {
		t.Errorf("one session from standard input: exit code %d\n%s", code, out)
	}
	out, _, code = decode(&app{output: "json"}, file, "--direction", "egress", "--erspan-version", "III", "-c", "5")
	var line struct {
		ERSPAN struct {
			SessionID int
			Direction string
		}
	}
	if err := json.Unmarshal([]byte(out), &line); code != 0 || err != nil || line.ERSPAN.SessionID != 100 || line.ERSPAN.Direction != "egress" {
		t.Errorf("JSON: exit code %d, %v\n%s", code, err, out)
	}
	inner := filepath.Join(t.TempDir(), "inner.pcapng")
	out, _, code = decode(&app{output: "table"}, "-w", inner, file)
	if b, err := os.ReadFile(inner); code != 0 || out != "" || err != nil || !bytes.HasPrefix(b, []byte{0x0a, 0x0d, 0x0d, 0x0a}) {
		t.Errorf("pcapng: exit code %d, %v, %q", code, err, out)
	}
	for _, c := range []struct {
		output string
		args   []string
		want   string
	}{
		{"table", []string{}, "want one FILE"},
		{"table", []string{"/no/such/file"}, "no such file"},
		{"table", []string{file, "--session-id", "1024"}, "0 to 1023"},
		{"table", []string{file, "--session-id", "010"}, "decimal or 0x"},
		{"table", []string{file, "--from", "rack7"}, "IPv4 or IPv6"},
		{"table", []string{file, "--erspan-version", "3"}, "allowed are"},
		{"table", []string{file, "--direction", "both"}, "ingress or egress"},
		{"table", []string{file, "--time", "now"}, "sender or receive"},
		{"table", []string{file, "-b", "files:3"}, "-b files:N"},
		{"table", []string{file, "-b", "filesize:3"}, "-b needs -w FILE"},
		{"yaml", []string{file}, "--output yaml"},
		{"json", []string{file, "-w", inner}, "choose one"},
	} {
		if out, errOut, code := decode(&app{output: c.output}, c.args...); code != exitRefused || out != "" || !strings.Contains(errOut, c.want) {
			t.Errorf("%q: exit code %d\n%s%s", c.args, code, out, errOut)
		}
	}
}

func TestCaptureCommandRefuses(t *testing.T) {
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"x"}, "no arguments"},
		{[]string{"-i", "no-such-device"}, `"no-such-device"`},
		{[]string{"--buffer", "1"}, "2 to 1024 MiB"},
		{[]string{"--duration", "-1s"}, "--duration"},
		{[]string{"-i", "lo", "--to", "lo"}, "--to lo"},
	} {
		a := &app{output: "table"}
		if out, errOut, code := runReceiver(a, newCaptureCommand(a), c.args...); code != exitRefused || out != "" || !strings.Contains(errOut, c.want) {
			t.Errorf("%q: exit code %d\n%s%s", c.args, code, out, errOut)
		}
	}
}
