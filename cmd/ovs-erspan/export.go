package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/ovs-erspan/ovs-erspan/session"
)

func newExportCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "export",
		Short: "Write all sessions as YAML that apply takes back",
		Example: `  ovs-erspan export > sessions.yaml
  ovs-erspan apply -f sessions.yaml`,
		Args:              noArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withHost(cmd.Context(), func(_ context.Context, h *host) error {
				wish, err := h.db.Wish()
				if err != nil {
					return err
				}
				data, err := session.MarshalFile(session.File{Host: &wish.Host, Sessions: specs(wish.Sessions)})
				if err == nil {
					_, err = a.out.Write(data)
				}
				return err
			})
		},
	}
}
