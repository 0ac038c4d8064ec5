package main

import (
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

func newManCommand(a *app) *cobra.Command {
	var markdown bool
	cmd := &cobra.Command{
		Use:   "man DIRECTORY",
		Short: "Write the manual pages",
		Long:  "Write the manual pages (section 8), one for each command, into a directory, which is made if it is not there.",
		Example: `  ovs-erspan man /usr/local/share/man/man8
  ovs-erspan man docs/cli --markdown`,
		Args: exactArgs(1, "a DIRECTORY"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := os.MkdirAll(args[0], 0o755); err != nil {
				return err
			}
			root := documented(a)
			if markdown {
				return doc.GenMarkdownTree(root, args[0])
			}
			// A fixed date: the same program writes the same pages.
			date := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
			if err := doc.GenManTree(root, &doc.GenManHeader{Section: "8", Source: "ovs-erspan", Manual: "ovs-erspan", Date: &date}, args[0]); err != nil {
				return err
			}
			return a.print(map[string]string{"directory": args[0]}, fmt.Sprintf("manual pages are in %s\n", args[0]))
		},
	}
	cmd.Flags().BoolVar(&markdown, "markdown", false, "write Markdown, as docs/cli in the source has it")
	return cmd
}

// documented is the program as it is documented: without what a machine's environment changes.
func documented(a *app) *cobra.Command {
	root := newRootCommand(a)
	root.DisableAutoGenTag = true
	rundir := root.PersistentFlags().Lookup("ovs-rundir")
	rundir.DefValue = defaultRundir
	return root
}
