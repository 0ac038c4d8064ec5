//go:build linux

package e2e

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ovs-erspan/ovs-erspan/e2e/lab"
)

// frameDump is how tcpdump prints the frames of a file, with a string for each: what it calls it, and all its bytes.
func (s *scene) frameDump(file string) []string {
	s.t.Helper()
	out, _, err := s.collector.Exec(s.ctx, "tcpdump", "-n", "-t", "-xx", "-Z", "root", "-r", file)
	s.must(err)
	var frames []string
	for line := range strings.Lines(out) {
		if strings.HasPrefix(line, "\t") {
			frames[len(frames)-1] += line
		} else {
			frames = append(frames, line)
		}
	}
	return frames
}

// startCapture runs `ovs-erspan capture` at the collector, and returns when it receives.
func (s *scene) startCapture(args ...string) *lab.Process {
	s.t.Helper()
	p, err := s.collector.Start(s.ctx, lab.Command{
		Args: append([]string{binary, "capture", "-i", "eth0"}, args...),
		Env:  []string{"GORACE=atexit_sleep_ms=10"},
	})
	s.must(err)
	s.must(lab.Until(s.ctx, "capture receives", func(context.Context) error {
		select {
		case <-p.Done():
			return lab.Permanent(p.Wait(s.ctx))
		default:
		}
		if !strings.Contains(p.Stderr(), "receiving on") {
			return errors.New("it has not said so")
		}
		return nil
	}))
	return p
}

// waitFrames waits until the file that a receiver writes has n frames.
func (s *scene) waitFrames(file string, n int) {
	s.t.Helper()
	s.must(lab.Until(s.ctx, fmt.Sprintf("%s has %d frames", file, n), func(ctx context.Context) error {
		// A file that is being written may end in the middle of a block.
		out, stderr, err := s.collector.Exec(ctx, "tshark", "-n", "-r", file, "-T", "fields", "-e", "frame.number")
		if got := strings.Count(out, "\n"); got < n {
			return fmt.Errorf("it has %d (%v, %s)", got, err, stderr)
		}
		return nil
	}))
}

// The frames that the receiver takes out of ERSPAN are those that passed at the source, byte for byte and in order, and
// their times and directions are those of the source too.
func TestReceivedFramesAreTheSourcesFrames(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	// The guests know each other: however long this takes, the kernels do not ask in between.
	for _, way := range []struct {
		of, to *lab.Node
		addr   string
	}{{s.a, s.b, addrB}, {s.b, s.a, addrA}} {
		mac, err := way.to.MAC(s.ctx, "eth0")
		s.must(err)
		_, _, err = way.of.Exec(s.ctx, "ip", "neigh", "replace", way.addr, "lladdr", mac.String(), "dev", "eth0", "nud", "permanent")
		s.must(err)
	}
	for _, test := range []struct {
		name       string
		flags      []string
		interfaces []string // that the file describes
	}{
		{"version 1", []string{"--collector", collectorAddr, "--session-id", "100"}, []string{hostAddr + " session 100"}},
		{
			"version 2", []string{"--collector", collectorAddr, "--session-id", "0", "--erspan-version", "2"},
			[]string{hostAddr + " session 0 egress", hostAddr + " session 0 ingress"},
		},
		{
			"version 2 over IPv6", []string{"--collector", collector6, "--session-id", "1023", "--erspan-version", "2"},
			[]string{hostAddr6 + " session 1023 egress", hostAddr6 + " session 1023 ingress"},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := *s
			s.t = t
			file := filepath.Join(t.TempDir(), "inner.pcapng")
			s.ok(append([]string{"session", "add", "web", "--bridge", "br0", "--source", "vnet0"}, test.flags...)...)
			source := s.capture(s.a, "eth0", "")
			receiver := s.startCapture("-w", file)
			// One by one: after the last of many, ping waits for two round trips only, however long it is told to wait.
			for i := range 14 {
				from, to, size := s.a, addrB, 56
				if i >= 5 {
					from, to, size = s.b, addrA, []int{1, 600, 1200}[i%3]
				}
				r, err := lab.Ping(s.ctx, from, netip.MustParseAddr(to), lab.PingOptions{Size: size, Wait: 10 * time.Second})
				s.must(err)
				if r.Received != 1 {
					t.Fatalf("a ping of %d bytes was not answered", size)
				}
			}
			s.waitCount(source, "icmp", 28)
			s.stop(source)
			want := s.frameDump(source.File())
			s.waitFrames(file, len(want))
			s.must(receiver.Stop(s.ctx))
			s.ok("session", "remove", "web")

			if got := s.frameDump(file); !slices.Equal(got, want) {
				t.Errorf("%d frames were received, %d passed at the source:\n%s\nsource:\n%s", len(got), len(want), strings.Join(got, ""), strings.Join(want, ""))
			}
			if e := receiver.Stderr(); !strings.Contains(e, "0 dropped by the kernel") || strings.Contains(e, "broken") {
				t.Errorf("capture said:\n%s", e)
			}
			out, _, err := s.collector.Exec(s.ctx, "tshark", "-n", "-r", file, "-T", "fields", "-E", "separator=/t",
				"-e", "frame.interface_name", "-e", "frame.packet_flags_direction", "-e", "ip.src", "-e", "frame.time_epoch")
			s.must(err)
			times, _, err := s.collector.Exec(s.ctx, "tshark", "-n", "-r", source.File(), "-T", "fields", "-e", "frame.time_epoch")
			s.must(err)
			at := strings.Fields(times)
			names := map[string]bool{}
			for i, line := range strings.Split(strings.TrimSpace(out), "\n") {
				field := strings.Split(line, "\t")
				names[field[0]] = true
				direction := ""
				if len(test.interfaces) == 2 { // version 2 tells it: what a sends comes in at the switch
					direction = "0x00000002"
					if field[2] == addrA {
						direction = "0x00000001"
					}
					if !strings.HasSuffix(field[0], map[string]string{"0x00000001": "ingress", "0x00000002": "egress"}[direction]) {
						t.Errorf("frame %d, from %s, is on interface %q", i+1, field[2], field[0])
					}
				}
				if field[1] != direction {
					t.Errorf("frame %d, from %s: direction %q, want %q", i+1, field[2], field[1], direction)
				}
				if d := seconds(t, field[3]).Sub(seconds(t, at[i])).Abs(); d > time.Minute {
					t.Errorf("frame %d: time %s, at the source %s", i+1, field[3], at[i])
				}
			}
			if got := sortedKeys(names); !slices.Equal(got, test.interfaces) {
				t.Errorf("interfaces %q, want %q", got, test.interfaces)
			}
		})
	}
}

// seconds reads a time as tshark prints it: seconds since 1970 with a fraction.
func seconds(t *testing.T, s string) time.Time {
	t.Helper()
	d, err := time.ParseDuration(s + "s")
	if err != nil {
		t.Fatal(err)
	}
	return time.Unix(0, int64(d))
}

func sortedKeys(m map[string]bool) []string {
	var keys []string
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// nobody is a user who may do nothing that everybody may not.
var nobody = []string{"setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", "--"}

// extcap is a folder with our extcap program and nothing else, as tshark looks for it, and the environment that points
// tshark at it. The program has the capability that it needs, which is all that a user who is not root gets.
func (s *scene) extcap(capability bool) (env []string) {
	s.t.Helper()
	dir, err := os.MkdirTemp("", "oe-extcap") // not t.TempDir, which is for its owner only
	s.must(err)
	s.t.Cleanup(func() { os.RemoveAll(dir) })
	s.must(os.Chmod(dir, 0o755))
	home := filepath.Join(dir, "home")
	s.must(os.Mkdir(home, 0o700))
	s.must(os.Chown(home, 65534, 65534))
	programs := filepath.Join(dir, "extcap")
	s.must(os.Mkdir(programs, 0o755))
	program := filepath.Join(programs, "ovs-erspan-extcap")
	build := exec.Command("go", "build", "-o", program, "../cmd/ovs-erspan-extcap")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		s.t.Fatalf("build: %v\n%s", err, out)
	}
	s.must(os.Chmod(program, 0o755))
	if capability {
		_, _, err = s.collector.Exec(s.ctx, "setcap", "cap_net_raw+ep", program)
		s.must(err)
	}
	return []string{"WIRESHARK_EXTCAP_DIR=" + programs, "WIRESHARK_CONFIG_DIR=" + home, "HOME=" + home, "TMPDIR=" + home}
}

// tshark, run by a user who is not root, lists the interface ERSPAN and receives the mirrored frames from it, with the
// options that are set as Wireshark sets them.
func TestExtcap(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	env := s.extcap(true)
	tshark := func(args ...string) lab.Command {
		return lab.Command{Args: append(append(slices.Clone(nobody), "tshark"), args...), Env: env, Dir: "/"}
	}
	out, stderr, err := s.collector.Run(s.ctx, tshark("-D"))
	s.must(err)
	if !regexp.MustCompile(`(?m)^\d+\. erspan \(ERSPAN\)$`).MatchString(out) {
		t.Fatalf("tshark -D lists\n%s%s", out, stderr)
	}
	out, _, err = s.collector.Run(s.ctx, tshark("-i", "erspan", "-L"))
	s.must(err)
	if !strings.Contains(out, "EN10MB (Ethernet)") {
		t.Errorf("tshark -L lists\n%s", out)
	}

	s.ping(s.a, addrB, 1)
	s.add("web", "--source", "vnet0", "--session-id", "7", "--erspan-version", "2", "--match", "icmp")
	s.add("other", "--source", "vnet1", "--session-id", "8")
	const frames = 6
	p, err := s.collector.Start(s.ctx, tshark("-n", "-l", "-i", "erspan", "-c", fmt.Sprint(frames),
		"-o", "extcap.erspan.device:eth0", "-o", "extcap.erspan.sessionid:7", "-o", "extcap.erspan.direction:egress",
		"-T", "fields", "-e", "frame.interface_name", "-e", "icmp.type", "-e", "ip.src", "-e", "frame.packet_flags_direction"))
	s.must(err)
	// Nothing says when the program listens: pings go on until it has what it was to get.
	s.must(lab.Until(s.ctx, "tshark received what it was to", func(context.Context) error {
		select {
		case <-p.Done():
			return nil
		default:
		}
		s.ping(s.a, addrB, 1)
		return fmt.Errorf("it printed %q; %s", p.Stdout(), p.Stderr())
	}))
	s.must(p.Wait(s.ctx))
	want := strings.Repeat("192.0.2.1 session 7 egress\t0\t"+addrB+"\t0x00000002\n", frames)
	if p.Stdout() != want {
		t.Errorf("tshark received\n%swant\n%s", p.Stdout(), want)
	}
	s.noExtcapLeft()
}

// noExtcapLeft waits until no process is left that was started for a capture which has ended.
func (s *scene) noExtcapLeft() {
	s.t.Helper()
	s.must(lab.Until(s.ctx, "no extcap program runs in the collector's namespace", func(context.Context) error {
		ns, err := os.Readlink(s.collector.NetNS())
		if err != nil {
			return err
		}
		exes, err := filepath.Glob("/proc/[0-9]*/exe")
		if err != nil {
			return err
		}
		for _, exe := range exes {
			name, _ := os.Readlink(exe)
			its, _ := os.Readlink(filepath.Join(filepath.Dir(exe), "ns/net"))
			if its == ns && filepath.Base(name) == "ovs-erspan-extcap" {
				return fmt.Errorf("%s is %s", exe, name)
			}
		}
		return nil
	}))
}

// What cannot be done is said to the user, through tshark too.
func TestExtcapSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	env := s.extcap(false)
	for _, test := range []struct {
		name string
		args []string
		want string
	}{
		{"no capability", nil, "cap_net_raw"},
		{"session id", []string{"-o", "extcap.erspan.sessionid:1024"}, `--session-id "1024": want 0 to 1023`},
		{"device", []string{"-o", "extcap.erspan.device:nope0"}, `no network device "nope0" here`},
	} {
		_, stderr, err := s.collector.Run(s.ctx, lab.Command{
			Args: append(append(slices.Clone(nobody), "tshark", "-i", "erspan", "-c", "1"), test.args...), Env: env, Dir: "/",
		})
		if err == nil || !strings.Contains(stderr, test.want) {
			t.Errorf("%s: tshark said (%v) %q, want %q", test.name, err, stderr, test.want)
		}
	}
	s.noExtcapLeft()
}

// A receiver whose reader died without a word ends, also when no packet comes.
func TestExtcapEndsWithItsReader(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	env := s.extcap(true)
	program := filepath.Join(strings.TrimPrefix(env[0], "WIRESHARK_EXTCAP_DIR="), "ovs-erspan-extcap")
	fifo := filepath.Join(t.TempDir(), "fifo")
	s.must(syscall.Mkfifo(fifo, 0o600))
	p, err := s.collector.Start(s.ctx, lab.Command{Args: []string{program, "--extcap-interface", "erspan", "--capture", "--fifo", fifo}})
	s.must(err)
	reader, err := os.Open(fifo)
	s.must(err)
	header := make([]byte, 4)
	_, err = reader.Read(header)
	s.must(err)
	if string(header) != "\x0a\x0d\x0d\x0a" {
		t.Errorf("the pipe begins with %x, not with a pcapng section", header)
	}
	s.must(reader.Close())
	s.must(p.Wait(s.ctx))
}
