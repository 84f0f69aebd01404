package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"sluice/cmd/internal/app"
)

func checkCommand() *cobra.Command {
	var config string
	cmd := &cobra.Command{
		Use:   "check -c FILE",
		Short: "Check a configuration and its rules without running them",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := required("config", config); err != nil {
				return err
			}
			c, err := app.Load(config)
			if err != nil {
				return err
			}
			report, err := app.Check(c, app.NewLog(cmd.ErrOrStderr(), false))
			if err != nil {
				return err
			}
			fmt.Fprint(cmd.OutOrStdout(), report)
			if report.Skipped > 0 {
				return errFailed
			}
			return nil
		},
	}
	cmd.Flags().StringVarP(&config, "config", "c", "", "the configuration `file`")
	return cmd
}
