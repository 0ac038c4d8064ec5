//go:build linux

package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// kernel is a distribution's kernel package, unpacked.
type kernel struct {
	dir     string
	image   string // the file to boot
	version string // such as 6.1.0-49-cloud-amd64
}

func findKernel(dir string) (kernel, error) {
	images, err := filepath.Glob(filepath.Join(dir, "boot/vmlinuz-*"))
	if err != nil || len(images) != 1 {
		return kernel{}, fmt.Errorf("kernel directory %s: it has %d files boot/vmlinuz-*, want one: remove the directory and let scripts/kernel.sh make it anew", dir, len(images))
	}
	k := kernel{dir: dir, image: images[0], version: strings.TrimPrefix(filepath.Base(images[0]), "vmlinuz-")}
	if _, err := os.Stat(filepath.Join(dir, "lib/modules", k.version)); err != nil {
		return kernel{}, fmt.Errorf("kernel directory %s: %w", dir, err)
	}
	return k, nil
}

// copyModules copies the modules that the scenarios need, with those that they depend on, and the index that modprobe
// reads. Modules that the kernel asks for by itself (a kind of tunnel, a packet scheduler) are found by their aliases.
func copyModules(ctx context.Context, tree string, k kernel) error {
	from := filepath.Join(k.dir, "lib/modules", k.version)
	depends, err := dependencies(filepath.Join(from, "modules.dep"))
	if err != nil {
		return err
	}
	to := filepath.Join(tree, "usr/lib/modules", k.version)
	done := map[string]bool{}
	var add func(file string) error
	add = func(file string) error {
		if done[file] {
			return nil
		}
		done[file] = true
		content, err := os.ReadFile(filepath.Join(from, file))
		if err != nil {
			return err
		}
		if err := os.MkdirAll(filepath.Dir(filepath.Join(to, file)), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(to, file), content, 0o644); err != nil {
			return err
		}
		for _, d := range depends[file] {
			if err := add(d); err != nil {
				return err
			}
		}
		return nil
	}
	for _, m := range modules {
		file := ""
		for f := range depends {
			name, _, _ := strings.Cut(filepath.Base(f), ".")
			if strings.ReplaceAll(name, "-", "_") == m {
				file = f
			}
		}
		if file == "" {
			continue // built into this kernel; init says so if it is not
		}
		if err := add(file); err != nil {
			return err
		}
	}
	for _, index := range []string{"modules.order", "modules.builtin", "modules.builtin.modinfo"} {
		content, err := os.ReadFile(filepath.Join(from, index))
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(to, index), content, 0o644); err != nil {
			return err
		}
	}
	out, err := exec.CommandContext(ctx, "depmod", "-b", filepath.Join(tree, "usr"), k.version).CombinedOutput()
	if err != nil {
		return fmt.Errorf("depmod: %w: %s", err, out)
	}
	return nil
}

// dependencies reads modules.dep: "kernel/net/ipv4/ip_gre.ko: kernel/net/ipv4/gre.ko kernel/…".
func dependencies(file string) (map[string][]string, error) {
	content, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	depends := map[string][]string{}
	lines := bufio.NewScanner(bytes.NewReader(content))
	for lines.Scan() {
		module, rest, _ := strings.Cut(lines.Text(), ":")
		depends[module] = strings.Fields(rest)
	}
	return depends, lines.Err()
}
