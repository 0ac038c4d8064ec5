package e2e

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"
)

// TestNamedTestsExist: what the compatibility page says is tested names tests that there are.
func TestNamedTestsExist(t *testing.T) {
	page, err := os.ReadFile("../docs/compatibility.md")
	if os.IsNotExist(err) {
		t.Skip("the page is not here: inside the virtual machine")
	}
	if err != nil {
		t.Fatal(err)
	}
	sources, err := filepath.Glob("*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	there := map[string]bool{}
	for _, file := range sources {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`(?m)^func (Test\w+)\(`).FindAllSubmatch(content, -1) {
			there[string(m[1])] = true
		}
	}
	named := regexp.MustCompile("`(Test\\w+)`").FindAllSubmatch(page, -1)
	if len(named) < 10 {
		t.Fatalf("the page names %d tests", len(named))
	}
	for _, m := range named {
		if !there[string(m[1])] {
			t.Errorf("the page names %s, which is no scenario", m[1])
		}
	}
}
