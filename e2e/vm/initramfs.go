//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

const (
	initramfsName = "initramfs.cpio"
	exitMark      = "vm-exit: "
)

// programs of this machine that the scenarios run, with the libraries that they need.
var programs = []string{
	"ovsdb-server", "ovsdb-tool", "ovs-vswitchd", "ovs-vsctl", "ovs-ofctl", "ovs-appctl", "ovs-dpctl",
	"ip", "tc", "ethtool", "ping", "tcpdump", "iperf3", "nsenter", "dash",
}

// applets of busybox, as few as can be: its own ip must not stand in for iproute2's, as it would in its own shell.
var applets = []string{"cat", "rm", "mkdir", "mount", "sleep", "modprobe", "poweroff", "dmesg"}

// modules that the kernel does not load by itself when they are needed.
var modules = []string{
	"virtio_pci", "virtio_console", "openvswitch", "ip_gre", "ip6_gre", "veth", "tun", "dummy", "bonding", "8021q",
	"sch_ingress", "cls_bpf", "act_bpf", "psample",
}

// files of data, as they lie here.
var files = []string{"/usr/share/openvswitch/vswitch.ovsschema"}

// python is what small senders and receivers of the scenarios are written in: the interpreter and the standard library,
// without what never runs there.
const python = "/usr/bin/python3"

var notOfPython = []string{"dist-packages", "test", "idlelib", "lib2to3", "tkinter", "turtledemo", "ensurepip", "pydoc_data", "unittest", "__phello__"}

// The first program. Open vSwitch 3.1 sees no processor within 10 s of boot (its count is cached, by a timer that starts
// at 0) and then starts no handler threads, so the tests wait until that is past.
const initScript = `#!/bin/sh
export PATH=/usr/sbin:/usr/bin HOME=/root TMPDIR=/tmp
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev
mkdir -p /dev/pts /tmp /run /var/run; mount -t devpts pts /dev/pts; mount -t tmpfs tmp /tmp; mount -t bpf bpf /sys/fs/bpf
for m in @MODULES@; do modprobe $m || echo "vm: no module $m"; done
/usr/sbin/ip link set lo up
read up rest </proc/uptime; up=${up%.*}
[ $up -ge 12 ] || sleep $((12-up))
cd /tmp
for word in $(cat /proc/cmdline); do case $word in oe_run=*) run=${word#oe_run=};; esac; done
LAB_DATAPATH=system LAB_OVS_BIN=@OVS_BIN@ OVS_ERSPAN_BINARY=/usr/bin/ovs-erspan /usr/bin/e2e.test -test.v -test.timeout 30m -test.run "$run" 2>&1
code=$?
[ $code = 0 ] || { echo "vm: the kernel's log ends:"; dmesg | /usr/bin/busybox tail -30; }
echo "@EXIT@$code"
poweroff -f
`

// buildInitramfs makes work/initramfs.cpio.
func buildInitramfs(ctx context.Context, root, work string, k kernel) error {
	tree := filepath.Join(work, "root")
	for _, dir := range []string{"usr/bin", "usr/sbin", "usr/lib", "usr/lib64", "proc", "sys", "dev", "tmp", "run", "var", "root", "etc", "lib/modules"} {
		if dir == "lib/modules" {
			dir = "usr/lib/modules"
		}
		if err := os.MkdirAll(filepath.Join(tree, dir), 0o755); err != nil {
			return err
		}
	}
	for _, link := range []string{"bin", "sbin", "lib", "lib64"} {
		if err := os.Symlink("usr/"+link, filepath.Join(tree, link)); err != nil {
			return err
		}
	}
	if err := copyPrograms(ctx, tree); err != nil {
		return err
	}
	if err := copyModules(ctx, tree, k); err != nil {
		return err
	}
	for target, pkg := range map[string]string{"ovs-erspan": "./cmd/ovs-erspan", "tshark": "./e2e/vm/tshark"} {
		if err := build(ctx, root, "build", "-tags", "faults", "-o", filepath.Join(tree, "usr/bin", target), pkg); err != nil {
			return err
		}
	}
	if err := build(ctx, root, "test", "-c", "-o", filepath.Join(tree, "usr/bin/e2e.test"), "./e2e"); err != nil {
		return err
	}
	init := strings.NewReplacer("@MODULES@", strings.Join(modules, " "), "@EXIT@", exitMark, "@OVS_BIN@", os.Getenv(otherOVS)).Replace(initScript)
	for name, content := range map[string]string{
		"init":       init,
		"etc/passwd": "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n",
		"etc/group":  "root:x:0:\nnogroup:x:65534:\n",
	} {
		if err := os.WriteFile(filepath.Join(tree, name), []byte(content), 0o755); err != nil {
			return err
		}
	}
	return archive(ctx, tree, filepath.Join(work, initramfsName))
}

// build runs go without cgo: what runs inside needs no library. So the race detector, which needs cgo, is not in it; the
// same scenarios run under it in the userspace tier.
func build(ctx context.Context, root string, args ...string) error {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return nil
}

func copyPrograms(ctx context.Context, tree string) error {
	needed := slices.Clone(files)
	library, err := pythonFiles()
	if err != nil {
		return err
	}
	needed = append(needed, library...)
	for _, p := range append([]string{"busybox", "python3"}, programs...) {
		path, err := lookProgram(p)
		if err != nil {
			return fmt.Errorf("%w (scripts/setup.sh installs it)", err)
		}
		needed = append(needed, path)
		libs, err := libraries(ctx, path)
		if err != nil {
			return err
		}
		needed = append(needed, libs...)
	}
	other, err := otherPrograms(ctx, os.Getenv(otherOVS))
	if err != nil {
		return err
	}
	for _, path := range append(needed, other...) {
		if err := copyFile(tree, path); err != nil {
			return err
		}
	}
	for _, a := range applets {
		if err := os.Symlink("busybox", filepath.Join(tree, "usr/bin", a)); err != nil {
			return err
		}
	}
	return errors.Join(
		os.Symlink("dash", filepath.Join(tree, "usr/bin/sh")),
		os.Symlink("../bin/busybox", filepath.Join(tree, "usr/sbin/modprobe")), // where the kernel looks for it
	)
}

// pythonFiles lists the standard library of Debian's own interpreter.
func pythonFiles() ([]string, error) {
	real, err := filepath.EvalSymlinks(python) // such as /usr/bin/python3.11
	if err != nil {
		return nil, err
	}
	var list []string
	err = filepath.WalkDir("/usr/lib/"+filepath.Base(real), func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && slices.Contains(notOfPython, entry.Name()):
			return fs.SkipDir
		case entry.Type().IsRegular():
			list = append(list, path)
		}
		return nil
	})
	return list, err
}

func lookProgram(name string) (string, error) {
	for _, dir := range []string{"/usr/sbin", "/usr/bin", "/sbin", "/bin"} {
		if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("%s is not installed", name)
}

// libraries lists what a program is linked against, the loader included; nothing for a static one.
func libraries(ctx context.Context, path string) ([]string, error) {
	out, err := exec.CommandContext(ctx, "ldd", path).CombinedOutput()
	if err != nil {
		if strings.Contains(string(out), "not a dynamic executable") {
			return nil, nil
		}
		return nil, fmt.Errorf("ldd %s: %w: %s", path, err, out)
	}
	return listed(out), nil
}

// listed are the files that a loader lists: "libc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x…)" or
// "/lib64/ld-linux-x86-64.so.2 (0x…)".
func listed(out []byte) (libs []string) {
	for _, f := range strings.Fields(string(out)) {
		if strings.HasPrefix(f, "/") {
			libs = append(libs, f)
		}
	}
	return libs
}

// otherOVS names the directory with the programs of another release's Open vSwitch (scripts/ovs-root.sh). The scenarios put
// it in front of PATH.
const otherOVS = "LAB_OVS_BIN"

// inQuotes are the arguments of a program in such a directory: its loader, where its libraries are, and the program itself.
var inQuotes = regexp.MustCompile(`"(/[^"]+)"`)

// otherPrograms lists the files that these programs are made of; none where there is no such directory.
func otherPrograms(ctx context.Context, dir string) (list []string, err error) {
	scripts, err := filepath.Glob(filepath.Join(dir, "*"))
	if dir == "" || err != nil {
		return nil, err
	}
	for _, script := range scripts {
		text, err := os.ReadFile(script)
		if err != nil {
			return nil, err
		}
		args := inQuotes.FindAllStringSubmatch(string(text), -1)
		if len(args) != 3 {
			return nil, fmt.Errorf("%s is not as scripts/ovs-root.sh makes it", script)
		}
		loader, libraries, program := args[0][1], args[1][1], args[2][1]
		out, err := exec.CommandContext(ctx, loader, "--library-path", libraries, "--list", program).CombinedOutput()
		if err != nil {
			return nil, fmt.Errorf("libraries of %s: %w: %s", program, err, out)
		}
		list = append(append(list, script, loader, program), listed(out)...)
	}
	return list, nil
}

// copyFile copies a file to the same path below tree. Links are followed, and /lib is /usr/lib, as everywhere since 2022.
func copyFile(tree, path string) error {
	to := path
	for _, dir := range []string{"/bin/", "/sbin/", "/lib/", "/lib64/"} {
		if strings.HasPrefix(path, dir) {
			to = "/usr" + path
		}
	}
	to = filepath.Join(tree, to)
	if _, err := os.Stat(to); err == nil {
		return nil
	}
	content, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	return os.WriteFile(to, content, 0o755)
}

// archive packs a tree into a file as the kernel unpacks it at boot. It is not compressed: the emulated processor is slow,
// memory is not.
func archive(ctx context.Context, tree, file string) error {
	var list bytes.Buffer
	err := filepath.WalkDir(tree, func(path string, _ fs.DirEntry, err error) error {
		if err == nil && path != tree {
			name, _ := filepath.Rel(tree, path)
			list.WriteString(name + "\x00")
		}
		return err
	})
	if err != nil {
		return err
	}
	out, err := os.Create(file)
	if err != nil {
		return err
	}
	defer out.Close()
	var stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, "cpio", "--null", "--create", "--format=newc", "--owner=0:0", "--quiet")
	cmd.Dir, cmd.Stdin, cmd.Stdout, cmd.Stderr = tree, &list, out, &stderr
	if err := cmd.Run(); err != nil {
		return errors.Join(fmt.Errorf("cpio: %w: %s", err, stderr.String()), out.Close())
	}
	return out.Close()
}
