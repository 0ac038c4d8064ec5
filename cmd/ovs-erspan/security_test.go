package main

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// TestNoShell: no part of the programs starts a shell, and one place only starts a process at all: ovs-ofctl. But for the
// demo's lab: it starts Open vSwitch and the tools that look at it, with nothing from a user, and one shell script that
// removes the lab's own directory when the demo is killed.
func TestNoShell(t *testing.T) {
	const root, ofctl = "../..", "openflow/ofctl.go"
	shells := []string{"sh", "bash", "dash", "zsh", "ksh", "busybox", "/bin/sh", "/bin/bash", "/usr/bin/env", "env", "eval", "xargs", "sudo", "su"}
	starts := map[string][]string{
		"exec":    {"Command", "CommandContext"},
		"os":      {"StartProcess"},
		"syscall": {"Exec", "ForkExec", "StartProcess"},
		"unix":    {"Exec"},
	}
	files := 0
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		name, _ := filepath.Rel(root, path)
		switch {
		case err != nil:
			return err
		case d.IsDir() && (strings.HasPrefix(name, ".") && name != "." || slices.Contains([]string{"tools", "docs", "dist", "bin", "e2e/vm", "ovsdb/ovsdbtest"}, name)):
			return filepath.SkipDir
		case d.IsDir(), !strings.HasSuffix(name, ".go"), strings.HasSuffix(name, "_test.go"):
			return nil
		}
		files++
		set := token.NewFileSet()
		file, err := parser.ParseFile(set, path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		inLab := strings.HasPrefix(name, "e2e/lab/")
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.BasicLit:
				if text, err := strconv.Unquote(n.Value); n.Kind == token.STRING && err == nil && slices.Contains(shells, text) && !inLab {
					t.Errorf("%s: the text %q", set.Position(n.Pos()), text)
				}
			case *ast.SelectorExpr:
				if pkg, ok := n.X.(*ast.Ident); ok && slices.Contains(starts[pkg.Name], n.Sel.Name) && name != ofctl && !inLab {
					t.Errorf("%s: %s.%s starts a process", set.Position(n.Pos()), pkg.Name, n.Sel.Name)
				}
			}
			return true
		})
		return nil
	})
	if err != nil || files < 100 {
		t.Errorf("%d files, %v", files, err)
	}
}

// TestOutputDoesNothingToTheTerminal: what others have written into OVSDB or a file is shown, and does nothing else.
func TestOutputDoesNothingToTheTerminal(t *testing.T) {
	var out, errOut bytes.Buffer
	a := &app{out: &out, err: &errOut, output: "table"}
	const evil = "vnet\x1b[2J\u202e0\x7f\xff"
	if err := a.print(nil, "NAME\tPORT\n"+evil+"\tb\n"); err != nil {
		t.Fatal(err)
	}
	if want := "NAME\tPORT\nvnet\\x1b[2J\\u202e0\\x7f\ufffd\tb\n"; out.String() != want {
		t.Errorf("printed %q, want %q", out.String(), want)
	}
	a.printError(withCode(exitFailed, &fs.PathError{Op: "open", Path: evil + "\nnext", Err: fs.ErrNotExist}))
	if want := "ovs-erspan: open vnet\\x1b[2J\\u202e0\\x7f\ufffd next: file does not exist\n"; errOut.String() != want {
		t.Errorf("printed %q, want %q", errOut.String(), want)
	}
}
