//go:build linux

// Command vm runs end-to-end scenarios on the kernel datapath: inside a virtual machine with Debian's own kernel, so that
// the kernel of this machine is neither needed nor touched.
//
//	go run ./e2e/vm [-run REGEXP] [flags]
//	go run ./e2e/vm -root DIRECTORY -kernel DIRECTORY [flags]
//
// Two machines run at once, each half of the scenarios: an emulated one uses hardly more than a processor.
//
// The machine is made of what is installed here (Open vSwitch, iproute2, tcpdump, busybox), of the kernel that
// scripts/kernel.sh unpacks, and of the scenarios' own test program, which runs inside with LAB_DATAPATH=system. It has
// no disk and no network. Decoding stays outside: the guest's tshark hands its files over and shows what this machine's
// tshark says of them, since under emulation tshark alone would need minutes.
//
// With -root it boots a file system that was made elsewhere, with the init that it has, instead (scripts/test-systemd.sh).
//
// KVM is used where it works; software emulation (TCG) does otherwise.
package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

func main() {
	log := func(format string, args ...any) { fmt.Fprintf(os.Stderr, "vm: "+format+"\n", args...) }
	code, err := run(log)
	var missing cannotRun
	switch {
	case errors.As(err, &missing) && os.Getenv("CI") == "":
		log("THE KERNEL TIER IS LEFT OUT: %v", missing.error)
		code = 0
	case err != nil:
		log("%v", err)
		code = max(code, 1)
	}
	os.Exit(code)
}

// cannotRun is why a machine cannot be had here. That is no failure, but in CI.
type cannotRun struct{ error }

func run(log func(string, ...any)) (int, error) {
	pattern := flag.String("run", ".", "the scenarios to run, as of go test")
	shards := flag.Int("machines", 2, "how many to run at once")
	accel := flag.String("accel", "auto", "auto, kvm or tcg")
	kernel := flag.String("kernel", "", "a directory with boot/vmlinuz-* and lib/modules/* (default: scripts/kernel.sh makes one)")
	timeout := flag.Duration("timeout", 10*time.Minute, "after which the machine is ended")
	memory := flag.Int("memory", 1536, "of the machine, in MiB")
	system := flag.String("root", "", "the `directory` of a file system to boot instead of the scenarios; what it writes to its console says how it ended")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, *timeout)
	defer cancel()
	start := time.Now()

	var root string // of the sources; a file system that was made elsewhere is booted without them
	var err error
	if *system == "" || *kernel == "" {
		if root, err = moduleRoot(ctx); err != nil {
			return 1, err
		}
	}
	if *kernel == "" {
		if *kernel, err = output(ctx, root, filepath.Join(root, "scripts/kernel.sh")); err != nil {
			return 1, cannotRun{fmt.Errorf("get a kernel: %w", err)}
		}
	}
	if _, err := exec.LookPath("qemu-system-x86_64"); err != nil {
		return 1, cannotRun{err}
	}
	k, err := findKernel(*kernel)
	if err != nil {
		return 1, err
	}
	work, err := os.MkdirTemp("", "oe-vm")
	if err != nil {
		return 1, err
	}
	defer os.RemoveAll(work)
	m := machine{kernel: k, work: work, memory: *memory, log: log}
	if m.accel, err = m.chooseAccel(ctx, *accel); err != nil {
		return 1, err
	}
	if *system != "" {
		return m.bootSystem(ctx, *system)
	}
	names, err := scenarios(root, *pattern)
	if err != nil {
		return 1, err
	}
	if err := buildInitramfs(ctx, root, work, k); err != nil {
		return 1, fmt.Errorf("make the machine's file system: %w", err)
	}
	*shards = max(1, min(*shards, len(names)))
	log("%d scenarios, kernel %s, %s, made in %.1f s; booting %d", len(names), k.version, m.accel, time.Since(start).Seconds(), *shards)
	type ending struct {
		code int
		err  error
	}
	endings := make(chan ending, *shards)
	out := &console{}
	for n := range *shards {
		var mine []string
		for i := n; i < len(names); i += *shards {
			mine = append(mine, names[i])
		}
		go func() {
			code, err := m.boot(ctx, n, "oe_run=^("+strings.Join(mine, "|")+")$", out.of(n))
			endings <- ending{code, err}
		}()
	}
	code := 0
	for range *shards {
		e := <-endings
		code, err = max(code, e.code), errors.Join(err, e.err)
	}
	log("done %.1f s after the start, exit code %d", time.Since(start).Seconds(), code)
	return code, err
}

// scenarios are the names of those that match, in the order of the sources.
func scenarios(root, pattern string) (names []string, err error) {
	wanted, err := regexp.Compile(pattern)
	if err != nil {
		return nil, fmt.Errorf("-run: %w", err)
	}
	sources, err := filepath.Glob(filepath.Join(root, "e2e/*_test.go"))
	if err != nil {
		return nil, err
	}
	for _, file := range sources {
		content, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		for _, m := range testFunction.FindAllSubmatch(content, -1) {
			if name := string(m[1]); name != "TestMain" && wanted.MatchString(name) {
				names = append(names, name)
			}
		}
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("-run %q: no scenario has such a name", pattern)
	}
	return names, nil
}

var testFunction = regexp.MustCompile(`(?m)^func (Test\w+)\(t \*testing\.T\)`)

// console shows what several machines write, line by line.
type console struct{ mu sync.Mutex }

func (c *console) of(machine int) func(line string) {
	return func(line string) {
		c.mu.Lock()
		defer c.mu.Unlock()
		fmt.Printf("%d| %s\n", machine+1, line)
	}
}

// machine is a virtual machine that is about to boot.
type machine struct {
	kernel kernel
	work   string // directory with initramfs.cpio
	memory int    // MiB
	accel  string // "kvm" or "tcg"
	log    func(string, ...any)
}

// chooseAccel resolves "auto". Whether KVM works is known only by trying: /dev/kvm may be there and fail (nested, or
// forbidden). The probe boots the kernel without a file system, which has to end in its panic within seconds.
func (m machine) chooseAccel(ctx context.Context, wish string) (string, error) {
	switch wish {
	case "kvm", "tcg":
		return wish, nil
	case "auto":
	default:
		return "", fmt.Errorf("-accel %q: want auto, kvm or tcg", wish)
	}
	if _, err := os.Stat("/dev/kvm"); err != nil {
		return "tcg", nil
	}
	m.accel = "kvm"
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	out, err := m.qemu(ctx, "-append", consoleArgs).CombinedOutput()
	if err == nil && strings.Contains(string(out), "Unable to mount root") {
		return "kvm", nil
	}
	m.log("KVM is there and does not work (%s); emulating", firstLine(out, err))
	return "tcg", nil
}

// edd=off: the BIOS call for disk data takes half a minute under some accelerators. panic=-1 with -no-reboot ends qemu
// when the kernel panics.
const consoleArgs = "console=ttyS0 panic=-1 edd=off"

func (m machine) qemu(ctx context.Context, args ...string) *exec.Cmd {
	cpu := map[string]string{"kvm": "host", "tcg": "max"}[m.accel]
	accel := map[string]string{"kvm": "kvm", "tcg": "tcg,thread=multi"}[m.accel]
	// With two emulated processors in each of two machines on two of ours, scenarios lost a packet in one run of three.
	processors := map[string]string{"kvm": "2", "tcg": "1"}[m.accel]
	cmd := exec.CommandContext(ctx, "qemu-system-x86_64", append([]string{
		"-accel", accel, "-cpu", cpu, "-machine", "q35", "-smp", processors, "-m", strconv.Itoa(m.memory),
		"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-serial", "stdio",
		"-kernel", m.kernel.image,
	}, args...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd
}

// bootSystem boots the file system of a directory, from which systemd is process 1. It gets the kernel's modules.
func (m machine) bootSystem(ctx context.Context, tree string) (int, error) {
	if err := copyModules(ctx, tree, m.kernel); err != nil {
		return 1, err
	}
	if err := archive(ctx, tree, filepath.Join(m.work, initramfsName)); err != nil {
		return 1, fmt.Errorf("make the machine's file system: %w", err)
	}
	m.log("kernel %s, %s; booting %s", m.kernel.version, m.accel, tree)
	return m.boot(ctx, 0, "rdinit=/lib/systemd/systemd systemd.show_status=false", func(line string) { fmt.Println(line) })
}

// boot runs the machine to its end, with more arguments for its kernel, passes on what its console shows, and returns the
// exit code of what ran inside.
func (m machine) boot(ctx context.Context, number int, arguments string, show func(line string)) (int, error) {
	j, err := listenJudge(filepath.Join(m.work, fmt.Sprintf("judge%d.sock", number)))
	if err != nil {
		return 1, err
	}
	defer j.close()
	cmd := m.qemu(ctx,
		"-initrd", filepath.Join(m.work, initramfsName),
		"-append", consoleArgs+" quiet "+arguments,
		"-device", "virtio-serial-pci", "-chardev", "socket,id=judge,path="+j.path,
		"-device", "virtserialport,chardev=judge,name="+judgePort,
	)
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return 1, err
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		return 1, fmt.Errorf("start qemu: %w", err)
	}
	go j.serve(ctx, m.log)

	code := -1
	lines := bufio.NewScanner(stdout)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := strings.TrimRight(lines.Text(), "\r")
		if rest, ok := strings.CutPrefix(line, exitMark); ok {
			if code, err = strconv.Atoi(rest); err != nil {
				return 1, fmt.Errorf("the machine's exit code: %w", err)
			}
			continue
		}
		show(line)
	}
	waitErr := cmd.Wait()
	switch {
	case ctx.Err() != nil:
		return 1, fmt.Errorf("the machine was ended: %w", context.Cause(ctx))
	case code < 0:
		return 1, errors.Join(fmt.Errorf("machine %d ended without a result; its console is above", number+1), waitErr)
	}
	return code, nil
}

func firstLine(out []byte, err error) string {
	line, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	if line == "" && err != nil {
		return err.Error()
	}
	return line
}

func moduleRoot(ctx context.Context) (string, error) {
	mod, err := output(ctx, "", "go", "env", "GOMOD")
	if err != nil {
		return "", err
	}
	return filepath.Dir(mod), nil
}

// output runs a command and returns what it prints, without the last line's end.
func output(ctx context.Context, dir, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w", filepath.Base(name), err)
	}
	return strings.TrimSpace(string(out)), nil
}
