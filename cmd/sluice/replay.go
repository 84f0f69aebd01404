package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"sluice/cmd/internal/app"
)

// ruleFlags choose rules: by a configuration file, or by folder and collection.
type ruleFlags struct {
	config      string
	roots       []string
	collections []string
	verbose     bool
}

func (f *ruleFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVarP(&f.config, "config", "c", "", "take rules and settings from this configuration `file`")
	cmd.Flags().StringSliceVar(&f.roots, "rules", nil, "take rules from this hub-shaped `folder` (may be repeated)")
	cmd.Flags().StringSliceVar(&f.collections, "collection", nil, "load only this collection by `name` (may be repeated)")
	cmd.Flags().BoolVarP(&f.verbose, "verbose", "v", false, "log more")
}

// load returns the configuration that the flags describe.
func (f *ruleFlags) load() (*app.Config, error) {
	if f.config != "" {
		if len(f.roots) > 0 || len(f.collections) > 0 {
			return nil, usageError{errors.New("--config names the rules already; leave --rules and --collection out")}
		}
		return app.Load(f.config)
	}
	if len(f.roots) == 0 {
		return nil, usageError{errors.New("give the rules with --config FILE, or with --rules FOLDER")}
	}
	c := app.Default()
	c.Rules.Roots, c.Rules.Collections = f.roots, f.collections
	return &c, nil
}

func replayCommand() *cobra.Command {
	var rules ruleFlags
	var logType, out, stats string
	var labels map[string]string
	var workers, shards int
	cmd := &cobra.Command{
		Use:   "replay (-c FILE | --rules DIR [--collection NAME]...) --type TYPE FILE...",
		Short: "Run files through the rules once and write the alerts",
		Long: "Replay reads files (plain, gzip or zstd; \"-\" is standard input) in order, on\n" +
			"event time, and writes the alerts as JSON lines. The alerts depend on the\n" +
			"rules and the lines alone: not on workers, shards or the day.",
		Example: "  sluice replay --rules configs/rules --collection sluice/linux --type syslog /var/log/auth.log",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, files []string) (err error) {
			if err := required("type", logType); err != nil {
				return err
			}
			if stats != "" && stats != "json" {
				return usageError{fmt.Errorf("--stats can be json, not %q", stats)}
			}
			if workers < 0 || workers > app.MaxGoroutines || shards < 0 || shards > app.MaxGoroutines {
				return usageError{fmt.Errorf("--workers and --shards can be 0 (one for each core) to %d", app.MaxGoroutines)}
			}
			config, err := rules.load()
			if err != nil {
				return err
			}
			to := cmd.OutOrStdout()
			if out != "" && out != "-" {
				f, err := os.Create(out)
				if err != nil {
					return fmt.Errorf("opening the file for alerts: %w", err)
				}
				defer func() { err = errors.Join(err, f.Close()) }()
				to = f
			}
			s, err := app.Replay(cmd.Context(), app.ReplayOptions{
				Config: config, Type: logType, Labels: labels, Workers: workers, Shards: shards,
				Files: files, Out: to, Log: app.NewLog(cmd.ErrOrStderr(), rules.verbose),
			})
			if err != nil {
				return err
			}
			return writeStats(cmd.ErrOrStderr(), cmd.OutOrStdout(), s, stats, out != "" && out != "-")
		},
	}
	rules.add(cmd)
	cmd.Flags().StringVar(&logType, "type", "", "the lines' `type`, which parsers ask for, such as syslog or nginx")
	cmd.Flags().StringToStringVar(&labels, "label", nil, "a label of every line, `name=value` (may be repeated)")
	cmd.Flags().StringVar(&out, "out", "", "write alerts to this `file` instead of standard output")
	cmd.Flags().StringVar(&stats, "stats", "", "write statistics at the end, as `json`: to standard output with --out, else to standard error")
	cmd.Flags().IntVar(&workers, "workers", 0, "goroutines that parse (0: one for each core)")
	cmd.Flags().IntVar(&shards, "shards", 0, "goroutines that detect (0: one for each core)")
	return cmd
}

func writeStats(stderr, stdout io.Writer, s *app.ReplayStats, format string, alertsElsewhere bool) error {
	if format == "" {
		return nil
	}
	to := stderr
	if alertsElsewhere {
		to = stdout
	}
	return json.NewEncoder(to).Encode(s)
}
