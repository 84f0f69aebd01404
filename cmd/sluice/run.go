package main

import (
	"github.com/spf13/cobra"

	"sluice/cmd/internal/app"
)

func runCommand() *cobra.Command {
	var config string
	var verbose bool
	cmd := &cobra.Command{
		Use:   "run -c FILE",
		Short: "Run a pipeline until its sources end or it is told to stop",
		Long: "Run reads the sources of the configuration, detects, and delivers alerts to its\n" +
			"sinks. SIGINT and SIGTERM end it once everything that was read is delivered,\n" +
			"or after outbox.drain: what sinks have not taken then is kept in state.dir for the\n" +
			"next run; without one, nothing keeps it, and the log counts it.",
		Example: "  sluice run -c configs/demo.yaml",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := required("config", config); err != nil {
				return err
			}
			return app.RunFile(cmd.Context(), config, verbose, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	cmd.Flags().StringVarP(&config, "config", "c", "", "the configuration `file`")
	cmd.Flags().BoolVarP(&verbose, "verbose", "v", false, "log more")
	return cmd
}
