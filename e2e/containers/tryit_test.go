//go:build linux

package containers

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"
)

// TestTryIt does what docs/try-it.md says, command by command, and looks whether what it promises comes. So
// deploy/compose.yaml, scripts/try.sh and the page are tested with one another.
func TestTryIt(t *testing.T) {
	page, err := os.ReadFile("../../docs/try-it.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?ms)^```sh\n(.*?)^```$").FindAllStringSubmatch(string(page), -1)
	if len(blocks) == 0 {
		t.Fatal("no commands in docs/try-it.md")
	}
	// The page says "docker" for either engine. doctor may have warnings (exit code 3): the clock of a test machine.
	script := fmt.Sprintf(`set -euo pipefail
docker() { command %s "$@" || { local code=$?; [[ "$*" = *doctor && $code = 3 ]]; }; }
`, strings.Join(theEngine.cli, " "))
	for _, b := range blocks {
		script += b[1]
	}

	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	t.Cleanup(func() {
		if t.Failed() {
			inRepository(context.Background(), "make", "try-down").Run()
		}
	})
	out, err := inRepository(ctx, "bash", "-c", script).CombinedOutput()
	if err != nil {
		t.Fatalf("%v:\n%s", err, out)
	}
	for _, want := range []string{
		`session "web" added: Active, session id 100`,
		`ERSPAN II session 100 .*ICMP echo request`, // the collector's log
		`Bridge br-erspan-nd`,
		`session "from-h1" added: Active, session id 100`,
		`4 packets captured`, // at analyzer1
		`from-h1 +Active`,
		`ERSPAN III session 100 ingress hwid 7 .*ICMP echo request.*, length 1008`,
		`web +Active +br0 .*2 \(Type III\)`, // after the mirror was taken away
		`, 0 failures`,                      // doctor
	} {
		if !regexp.MustCompile(want).Match(out) {
			t.Errorf("nothing matches %q in:\n%s", want, out)
		}
	}
	left, err := inRepository(ctx, theEngine.cli[0], "ps", "--all", "--format", "{{.Names}}", "--filter", "name=oe-").CombinedOutput()
	if err != nil || len(left) > 0 {
		t.Errorf("after make try-down: %v; %s", err, left)
	}
}

// inRepository is a command in the root of the repository, with the engine of the tests as docker or podman.
func inRepository(ctx context.Context, name string, args ...string) *exec.Cmd {
	c := exec.CommandContext(ctx, name, args...)
	c.Dir = "../.."
	c.Env = os.Environ()
	if theEngine.daemon != nil {
		// podman is the command in the engine's directory, and no docker may be found to run.
		c.Env = append(c.Env, "PATH="+theEngine.dir+":"+os.Getenv("PATH"), "DOCKER_HOST=unix://"+theEngine.dir+"/none")
	}
	c.WaitDelay = 5 * time.Second
	return c
}
