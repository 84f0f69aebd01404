package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/mattn/go-isatty"
	"github.com/spf13/cobra"

	"sluice/cmd/internal/app"
)

func explainCommand() *cobra.Command {
	var rules ruleFlags
	var logType, line, module, colour string
	var labels map[string]string
	var all bool
	cmd := &cobra.Command{
		Use:   "explain (-c FILE | --rules DIR [--collection NAME]...) --type TYPE [--log LINE | FILE]",
		Short: "Show what each parser and scenario makes of a line",
		Long: "Explain runs lines through the parsers and the scenarios' filters and prints a tree:\n" +
			"each stage and node, whether it succeeded and why not, what it wrote, and which\n" +
			"scenarios the line pours into with which key. Without --log and FILE it reads standard input.",
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, files []string) (err error) {
			if err := required("type", logType); err != nil {
				return err
			}
			config, err := rules.load()
			if err != nil {
				return err
			}
			var input io.Reader = cmd.InOrStdin()
			switch {
			case line != "" && len(files) > 0:
				return usageError{errors.New("give a line with --log or a file, not both")}
			case line != "":
				input = strings.NewReader(line)
			case len(files) > 0 && files[0] != "-":
				f, err := os.Open(files[0])
				if err != nil {
					return fmt.Errorf("opening the log: %w", err)
				}
				defer f.Close()
				input = f
			}
			paint, err := useColour(colour, cmd.OutOrStdout())
			if err != nil {
				return err
			}
			return app.Explain(app.ExplainOptions{
				Config: config, Type: logType, Labels: labels, Module: module, Input: input, Out: cmd.OutOrStdout(),
				Colour: paint, All: all || rules.verbose, Received: time.Now(), Log: app.NewLog(cmd.ErrOrStderr(), rules.verbose),
			})
		},
	}
	rules.add(cmd)
	cmd.Flags().StringVar(&logType, "type", "", "the line's `type`, which parsers ask for, such as syslog or nginx")
	cmd.Flags().StringVar(&line, "log", "", "the `line` to explain")
	cmd.Flags().StringVar(&module, "module", "file", "evt.Line.Module: the kind of source the line comes from")
	cmd.Flags().StringToStringVar(&labels, "label", nil, "a label of the line, `name=value` (may be repeated)")
	cmd.Flags().BoolVar(&all, "all", false, "show nodes too whose filter does not hold")
	cmd.Flags().StringVar(&colour, "color", "auto", "auto, always or never")
	return cmd
}

func useColour(when string, out io.Writer) (bool, error) {
	switch when {
	case "always":
		return true, nil
	case "never":
		return false, nil
	case "auto":
		f, ok := out.(*os.File)
		return ok && isatty.IsTerminal(f.Fd()) && os.Getenv("NO_COLOR") == "", nil
	}
	return false, usageError{fmt.Errorf("--color can be auto, always or never, not %q", when)}
}
