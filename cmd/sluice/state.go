package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"sluice/cmd/internal/app"
)

// stateFlags name the folder of a state.
type stateFlags struct{ config, dir string }

func (f *stateFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVarP(&f.config, "config", "c", "", "the configuration `file` of the pipeline")
	cmd.Flags().StringVar(&f.dir, "state", "", "the `folder` of its state")
	cmd.MarkFlagsMutuallyExclusive("config", "state")
}

func (f *stateFlags) folder() (string, error) { return stateDir(f.config, f.dir) }

func stateCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "state",
		Short: "Look at, copy and remove the durable state of a pipeline",
		Long: "The state is that of state.dir: buckets, positions and alerts on their way. The\n" +
			"pipeline that it belongs to must not run meanwhile.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(stateInspectCommand(), stateExportCommand(), stateImportCommand(), stateResetCommand())
	return cmd
}

func stateInspectCommand() *cobra.Command {
	var flags stateFlags
	var output string
	cmd := &cobra.Command{
		Use:   "inspect (-c FILE | --state DIR)",
		Short: "Say what a state holds, and whether it is whole",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if output != "text" && output != "json" {
				return usageError{fmt.Errorf("the flag --output can be text or json, not %q", output)}
			}
			dir, err := flags.folder()
			if err != nil {
				return err
			}
			report, err := app.InspectState(dir)
			if err != nil {
				return err
			}
			if output == "json" {
				enc := json.NewEncoder(cmd.OutOrStdout())
				enc.SetIndent("", "  ")
				err = enc.Encode(report)
			} else {
				err = report.WriteText(cmd.OutOrStdout())
			}
			if err == nil && len(report.Problems) > 0 {
				return errFailed
			}
			return err
		},
	}
	flags.add(cmd)
	cmd.Flags().StringVarP(&output, "output", "o", "text", "`text` or json")
	return cmd
}

func stateExportCommand() *cobra.Command {
	var flags stateFlags
	var binary bool
	cmd := &cobra.Command{
		Use:   "export (-c FILE | --state DIR) [FILE]",
		Short: "Write what a state holds as JSON lines, or as a backup",
		Long: "Export writes to a file, or to standard output, one JSON object a line, sorted and\n" +
			"by names, so that the states of two runs can be compared. With --binary it writes\n" +
			"all of the state for sluice state import, on another machine or by another version.",
		Example: "  sluice state export -c pipeline.yaml --binary backup.zst",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			dir, err := flags.folder()
			if err != nil {
				return err
			}
			write := app.ExportState
			if binary {
				write = app.BackUpState
			}
			if len(args) == 0 {
				return write(dir, cmd.OutOrStdout())
			}
			return intoFile(args[0], func(w io.Writer) error { return write(dir, w) })
		},
	}
	flags.add(cmd)
	cmd.Flags().BoolVar(&binary, "binary", false, "write a backup for sluice state import")
	return cmd
}

// intoFile writes a file that is there under its name only once it is whole.
// With an error what was written stays, under its name too: of a damaged
// state it is all there is.
func intoFile(path string, write func(io.Writer) error) error {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	err = write(f)
	if serr := f.Sync(); err == nil {
		err = serr
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return errors.Join(err, os.Rename(f.Name(), path))
}

func stateImportCommand() *cobra.Command {
	var flags stateFlags
	cmd := &cobra.Command{
		Use:   "import (-c FILE | --state DIR) FILE",
		Short: "Make a state of a backup",
		Long: "Import takes what sluice state export --binary wrote, from a file or, for -, from\n" +
			"standard input. The folder must hold no state: reset it first.",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			dir, err := flags.folder()
			if err != nil {
				return err
			}
			if args[0] == "-" {
				return app.RestoreState(dir, cmd.InOrStdin())
			}
			f, err := os.Open(args[0])
			if err != nil {
				return err
			}
			return errors.Join(app.RestoreState(dir, f), f.Close())
		},
	}
	flags.add(cmd)
	return cmd
}

func stateResetCommand() *cobra.Command {
	var flags stateFlags
	var yes bool
	var partition string
	cmd := &cobra.Command{
		Use:   "reset (-c FILE | --state DIR) [--partition SOURCE/TOPIC/ID] --yes",
		Short: "Remove a state, or what it holds of one partition",
		Long: "Reset removes the state, damaged or not: the pipeline begins with empty buckets,\n" +
			"where its sources' offsets are committed. Alerts that sinks have not taken are lost.\n\n" +
			"With --partition only what belongs to that partition is removed: where it is read,\n" +
			"and the buckets that it fed last. Alerts that wait stay. The names are those of\n" +
			"sluice state inspect.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			dir, err := flags.folder()
			if err != nil {
				return err
			}
			what := fmt.Sprintf("the state in %q with all buckets and alerts in it", dir)
			if partition != "" {
				what = fmt.Sprintf("what the state in %q holds of partition %s", dir, partition)
			}
			if !yes {
				return usageError{fmt.Errorf("this would remove %s; say --yes if that is meant", what)}
			}
			if partition == "" {
				return app.ResetState(dir)
			}
			n, err := app.ResetPartition(dir, partition)
			if err == nil {
				fmt.Fprintf(cmd.OutOrStdout(), "removed %d records of %s\n", n, partition)
			}
			return err
		},
	}
	flags.add(cmd)
	cmd.Flags().BoolVar(&yes, "yes", false, "remove it")
	cmd.Flags().StringVar(&partition, "partition", "", "the `partition` to forget")
	return cmd
}
