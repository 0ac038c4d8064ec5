package main

import (
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/ovs-erspan/ovs-erspan/session"
)

func newSessionCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "session",
		Aliases: []string{"sessions"},
		Short:   "Add, look at, change and remove sessions",
		Example: `  ovs-erspan session add web --bridge br0 --source vnet0 --collector 192.0.2.9
  ovs-erspan session show web`,
	}
	cmd.AddCommand(
		newSessionAddCommand(a),
		newSessionSetCommand(a),
		newSessionListCommand(a),
		newSessionShowCommand(a),
		newSessionTraceCommand(a),
		newSessionVerifyCommand(a),
		newSessionRemoveCommand(a),
		newSessionEnableCommand(a),
		newSessionDisableCommand(a),
	)
	return cmd
}

// find is the session's place in the wish, or an error for exit code 4.
func find(w *session.Wish, name string) (int, error) {
	i := slices.IndexFunc(w.Sessions, func(s session.Stored) bool { return s.Name == name })
	if i >= 0 {
		return i, nil
	}
	if err, broken := w.Broken[name]; broken {
		return -1, fmt.Errorf("session %q cannot be read from the store (%w): remove it, or write it again with apply", name, err)
	}
	known := "there are no sessions"
	if len(w.Sessions) > 0 {
		known = "there are: "
		for n, s := range w.Sessions {
			if n == 10 {
				known += fmt.Sprintf(" and %d more", len(w.Sessions)-n)
				break
			}
			if n > 0 {
				known += ", "
			}
			known += s.Name
		}
	}
	return -1, withCode(exitNoSession, fmt.Errorf("no session %q; %s", name, known))
}
