package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/ovs-erspan/ovs-erspan/session"
)

func newExportCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "export",
		Short: "Write all sessions as YAML that apply takes back; with -o json as JSON, which it takes as well",
		Example: `  ovs-erspan export > sessions.yaml
  ovs-erspan apply -f sessions.yaml

  ovs-erspan export -o json | jq -r '.sessions[].name'`,
		Args:              noArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withHost(cmd.Context(), func(_ context.Context, h *host) error {
				wish, err := h.db.Wish()
				if err != nil {
					return err
				}
				marshal := session.MarshalFile
				if a.output == "json" {
					marshal = session.MarshalFileJSON
				}
				data, err := marshal(session.File{Host: &wish.Host, Sessions: specs(wish.Sessions)})
				if err == nil {
					_, err = a.out.Write(data)
				}
				return err
			})
		},
	}
}
