package flows

import (
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

var quoted = regexp.MustCompile("(?s)```flows ([a-z-]+)\n(.*?)```\n")

// TestPipelineDocument holds the flows that docs/pipeline.md quotes to the golden files; -update writes them anew. The
// guard's flows are many alike: each quote has the first of them and counts the rest.
func TestPipelineDocument(t *testing.T) {
	const file = "../docs/pipeline.md"
	is, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	blocks := 0
	want := quoted.ReplaceAllStringFunc(string(is), func(block string) string {
		blocks++
		name := quoted.FindStringSubmatch(block)[1]
		golden, err := os.ReadFile(filepath.Join("testdata", name+".flows"))
		if err != nil {
			t.Fatal(err)
		}
		return "```flows " + name + "\n" + shortenGuard(string(golden)) + "```\n"
	})
	if blocks != len(goldens)-1 {
		t.Errorf("%d of the golden files are quoted, want all but the simplest", blocks)
	}
	if want == string(is) {
		return
	}
	if !*update {
		t.Fatalf("%s quotes other flows than those in testdata: go test ./flows -update", file)
	}
	if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
		t.Fatal(err)
	}
}

func shortenGuard(flows string) string {
	var out strings.Builder
	guards := 0
	for line := range strings.Lines(flows) {
		if strings.HasPrefix(line, "guard       priority=300") {
			guards++
			if guards > 1 {
				continue
			}
		} else if guards > 1 {
			out.WriteString("            … and " + strconv.Itoa(guards-1) + " more of the guard\n")
			guards = 0
		}
		out.WriteString(line)
	}
	return out.String()
}
