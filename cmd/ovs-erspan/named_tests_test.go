package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

var (
	testFunction = regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`)
	testName     = regexp.MustCompile("`((?:Test|Fuzz)\\w+)`")
)

// allTests are the names of the tests in the source.
func allTests(t *testing.T) map[string]bool {
	t.Helper()
	names := map[string]bool{}
	err := filepath.WalkDir("../..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		for _, m := range testFunction.FindAllStringSubmatch(string(text), -1) {
			names[m[1]] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// TestNamedTestsExist: the tests that the documents name are there.
func TestNamedTestsExist(t *testing.T) {
	names := allTests(t)
	for _, file := range []string{"threat-model.md", "traps.md", "compatibility.md"} {
		text, err := os.ReadFile("../../docs/" + file)
		if err != nil {
			t.Fatal(err)
		}
		named := testName.FindAllStringSubmatch(string(text), -1)
		if len(named) < 10 {
			t.Errorf("%s names %d tests only", file, len(named))
		}
		for _, m := range named {
			if !names[m[1]] {
				t.Errorf("%s names %s, which is not there", file, m[1])
			}
		}
	}
}

var (
	trapRow    = regexp.MustCompile(`(?m)^\| (\d+) \|(.*)\|(.*)\|(.*)\|$`)
	sourceFile = regexp.MustCompile("`([a-z0-9_/-]+\\.go)`")
)

// TestTraps: docs/traps.md has all traps, each with a protection in a file that is there and a test, or with the reason why
// it does not concern us.
func TestTraps(t *testing.T) {
	const traps = 49 // of the facts
	text, err := os.ReadFile("../../docs/traps.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := trapRow.FindAllStringSubmatch(string(text), -1)
	if len(rows) != traps {
		t.Errorf("%d rows, want %d", len(rows), traps)
	}
	for i, row := range rows {
		number, protection, test := row[1], row[3], row[4]
		if number != strconv.Itoa(i+1) {
			t.Errorf("row %d is of trap %s", i+1, number)
		}
		if !testName.MatchString(test) && !strings.Contains(protection, "does not concern") {
			t.Errorf("trap %s has no test, and no reason for that", number)
		}
		files := sourceFile.FindAllStringSubmatch(protection, -1)
		if len(files) == 0 {
			t.Errorf("trap %s: no file is named", number)
		}
		for _, f := range files {
			if _, err := os.Stat("../../" + f[1]); err != nil {
				t.Errorf("trap %s: %v", number, err)
			}
		}
	}
}
