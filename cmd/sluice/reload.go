package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"sluice/cmd/internal/app"
	"sluice/cmd/internal/control"
)

func reloadCommand() *cobra.Command {
	var config, dir string
	var pid int
	var wait time.Duration
	cmd := &cobra.Command{
		Use:   "reload (-c FILE | --state DIR | --pid N)",
		Short: "Make a running pipeline read its rules again",
		Long: "Reload finds the process by the folder of its state, makes it read its rules\n" +
			"again, and says what came of it. Scenarios that detect what they did before keep\n" +
			"their buckets. When the new rules are broken, the old ones go on, and reload\n" +
			"fails with the reason. A pipeline without durable state is told by its process\n" +
			"id; what came of it is then in its log alone.",
		Example: "  sluice reload -c configs/kafka.yaml",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if pid != 0 {
				return control.Signal(pid)
			}
			if config == "" && dir == "" {
				return usageError{errors.New("one of the flags --config, --state and --pid is needed")}
			}
			dir, err := stateDir(config, dir)
			if errors.Is(err, errNoState) {
				return fmt.Errorf("%w; name its process by --pid", err)
			}
			if err != nil {
				return err
			}
			summary, err := app.ReloadRunning(cmd.Context(), dir, wait)
			if err != nil {
				return fmt.Errorf("the rules were not reloaded: %w", err)
			}
			fmt.Fprintf(cmd.OutOrStdout(), "reloaded: %s\n", summary)
			return nil
		},
	}
	cmd.Flags().StringVarP(&config, "config", "c", "", "the configuration `file` of the pipeline")
	cmd.Flags().StringVar(&dir, "state", "", "the `folder` of its state")
	cmd.Flags().IntVar(&pid, "pid", 0, "its process `id`")
	cmd.Flags().DurationVar(&wait, "wait", 30*time.Second, "how long to wait for its answer")
	cmd.MarkFlagsMutuallyExclusive("config", "state", "pid")
	return cmd
}

// errNoState says that a pipeline has no folder by which it is found.
var errNoState = errors.New("this pipeline keeps no state")

// stateDir returns the folder of state that flags name, directly or by a
// configuration.
func stateDir(config, dir string) (string, error) {
	if dir != "" {
		return dir, nil
	}
	if config == "" {
		return "", usageError{errors.New("the flag --config or --state is needed")}
	}
	c, err := app.Load(config)
	if err != nil {
		return "", err
	}
	if c.State.Dir == "" {
		return "", fmt.Errorf("%s has no state.dir: %w", config, errNoState)
	}
	return c.StateDir(), nil
}
