//go:build linux

package containers

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/testcontainers/testcontainers-go/log"
)

// image is the name of the image under test (scripts/sandbox-image.sh), made for these tests.
var image string

// theEngine runs the containers.
var theEngine *engine

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	// An engine of ours dies with the thread that started it (PR_SET_PDEATHSIG).
	runtime.LockOSThread()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	log.SetDefault(log.NewNoopLogger())
	var err error
	theEngine, err = findEngine(ctx)
	if err != nil {
		fmt.Fprintln(os.Stderr, "containers: not run: no container engine:", err)
		// In CI a tier that cannot run is a failure: nobody would see that it never does.
		if os.Getenv("CI") == "true" {
			return 1
		}
		return 0
	}
	defer theEngine.stop()
	fmt.Println("containers: on", theEngine)
	if image, err = buildImage(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "containers: build the image:", err)
		return 1
	}
	return m.Run()
}

// buildImage has scripts/sandbox-image.sh make the image in the engine.
func buildImage(ctx context.Context) (string, error) {
	script := exec.CommandContext(ctx, "../../scripts/sandbox-image.sh")
	script.Env = append(os.Environ(), "ENGINE="+strings.Join(theEngine.cli, " "))
	script.Stderr = os.Stderr
	out, err := script.Output()
	return strings.TrimSpace(string(out)), err
}
