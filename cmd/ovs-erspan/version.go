package main

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// version is set by the linker in releases.
var version = "development"

func newVersionCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:               "version",
		Short:             "Print the version",
		Example:           `  ovs-erspan version -o json`,
		Args:              noArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(*cobra.Command, []string) error {
			v := programVersion()
			return a.print(map[string]string{"version": v, "go": runtime.Version()}, fmt.Sprintf("ovs-erspan %s (%s)\n", v, runtime.Version()))
		},
	}
}

func programVersion() string {
	if info, ok := debug.ReadBuildInfo(); ok && version == "development" && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	return version
}
