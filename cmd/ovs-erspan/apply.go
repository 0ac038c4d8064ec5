package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/spf13/cobra"

	"github.com/ovs-erspan/ovs-erspan/session"
)

// maxFile bounds what apply reads.
const maxFile = 8 << 20

func newApplyCommand(a *app) *cobra.Command {
	var (
		file                  string
		prune, dryRun, noWait bool
	)
	cmd := &cobra.Command{
		Use:   "apply -f FILE|-",
		Short: "Make sessions what a YAML file says, as one change",
		Long: `Make sessions what a YAML file says: each session that it names is replaced wholly, or created. All of it is one
change: where one session is refused, none is changed. Sources that do not exist yet are accepted; their sessions are
Pending until they come. A field host, beside sessions, says what host set does; without it that stays as it is.`,
		Example: `  ovs-erspan apply -f sessions.yaml
  ovs-erspan apply -f sessions.yaml --dry-run
  ovs-erspan export | ovs-erspan apply -f - --prune`,
		Args:              noArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if file == "" {
				return refuse(fmt.Errorf("apply: want -f FILE, or -f - for standard input"))
			}
			data, err := a.read(file)
			if err != nil {
				return refuse(err)
			}
			file, err := session.ParseFile(data)
			if err != nil {
				return refuse(err)
			}
			return a.withHost(cmd.Context(), func(ctx context.Context, h *host) error {
				return applySessions(ctx, h, file, prune, dryRun, noWait)
			})
		},
	}
	cmd.Flags().StringVarP(&file, "filename", "f", "", "the YAML `file`; - is standard input")
	cmd.Flags().BoolVar(&prune, "prune", false, "remove sessions that the file does not name")
	dryRunFlag(cmd, &dryRun)
	cmd.Flags().BoolVar(&noWait, "no-wait", false, "return when the change is stored, without putting it in force")
	must(cmd.MarkFlagFilename("filename", "yaml", "yml"))
	return cmd
}

func (a *app) read(file string) ([]byte, error) {
	in := a.in
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		in = f
	}
	data, err := io.ReadAll(io.LimitReader(in, maxFile+1))
	if err == nil && len(data) > maxFile {
		err = fmt.Errorf("%s: larger than %d bytes", file, maxFile)
	}
	return data, err
}

func applySessions(ctx context.Context, h *host, file session.File, prune, dryRun, noWait bool) error {
	sessions := file.Sessions
	names := make([]string, len(sessions))
	for i, s := range sessions {
		names[i] = s.Name
	}
	e := edit{noWait: noWait, dryRun: dryRun, acceptMissing: true, ofHost: file.Host != nil, change: func(w *session.Wish) ([]string, error) {
		if file.Host != nil {
			w.SetHost(*file.Host)
		}
		if prune {
			keep := func(name string) bool { return slices.Contains(names, name) }
			w.Sessions = slices.DeleteFunc(w.Sessions, func(s session.Stored) bool { return !keep(s.Name) })
		}
		at := map[string]int{}
		for i, s := range w.Sessions {
			at[s.Name] = i
		}
		for _, s := range sessions {
			delete(w.Broken, s.Name)
			if i, ok := at[s.Name]; ok {
				w.Sessions[i].Session = keepSessionID(s, w.Sessions[i].Session)
				continue
			}
			w.Sessions = append(w.Sessions, session.Stored{Session: s})
		}
		return names, nil
	}}
	return h.makeAndTell(ctx, e, func(status map[string]session.Status, err error) error {
		if err != nil {
			return err
		}
		view := appliedView{Added: []string{}, Changed: map[string][]string{}, Unchanged: []string{}, Removed: []string{}, Status: status}
		text := ""
		for _, c := range h.changes(names) {
			switch c.Kind {
			case session.Added:
				view.Added = append(view.Added, c.Name)
			case session.Changed:
				view.Changed[c.Name] = c.Fields
			case session.Unchanged:
				view.Unchanged = append(view.Unchanged, c.Name)
			case session.Removed:
				view.Removed = append(view.Removed, c.Name)
			}
			if c.Kind != session.Unchanged {
				text += fmt.Sprintf("session %q %s\n", c.Name, changeText(c, ""))
			}
		}
		text += fmt.Sprintf("sessions added: %d, changed: %d, unchanged: %d, removed: %d%s\n",
			len(view.Added), len(view.Changed), len(view.Unchanged), len(view.Removed), h.app.storedNote(noWait))
		printErr := h.app.print(view, text)
		if noWait {
			return printErr
		}
		h.noteCosts()
		return errors.Join(printErr, inForce(status, names), h.noteUnattended(nil))
	})
}

// appliedView is `apply -o json`: names, of the changed ones with the fields that were changed.
type appliedView struct {
	Added     []string                  `json:"added"`
	Changed   map[string][]string       `json:"changed"`
	Unchanged []string                  `json:"unchanged"`
	Removed   []string                  `json:"removed"`
	Status    map[string]session.Status `json:"status"`
}
