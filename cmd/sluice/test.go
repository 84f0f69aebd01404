package main

import (
	"encoding/json"
	"fmt"
	"io"
	"runtime"

	"github.com/spf13/cobra"

	"sluice/stages/hubtest"
)

func testCommand() *cobra.Command {
	var hub, output string
	var parallel int
	var reference bool
	cmd := &cobra.Command{
		Use:   "test --hub DIR [NAME]...",
		Short: "Run the tests that come with a hub",
		Long: "Test runs the tests in a hub's folder tests/, all or those named: each is a log\n" +
			"with the rules to run on it and assertions on what they give. It prints a line\n" +
			"for each assertion that does not hold, with what was expected and what was found.",
		Example: "  sluice test --hub configs/rules",
		RunE: func(cmd *cobra.Command, names []string) error {
			if err := required("hub", hub); err != nil {
				return err
			}
			if output != "text" && output != "json" {
				return usageError{fmt.Errorf("--output can be text or json, not %q", output)}
			}
			o := hubtest.Options{Hub: hub, Names: names, Parallel: parallel, Reference: reference}
			if output == "text" {
				o.Each = func(r hubtest.Result) { printResult(cmd.OutOrStdout(), r) }
			}
			s, err := hubtest.Run(cmd.Context(), o)
			if err != nil {
				return err
			}
			if output == "json" {
				e := json.NewEncoder(cmd.OutOrStdout())
				e.SetIndent("", "  ")
				err = e.Encode(s)
			} else {
				_, err = fmt.Fprintf(cmd.OutOrStdout(), "%d passed, %d failed\n", s.Passed, s.Failed)
			}
			if err == nil && s.Failed > 0 {
				err = errFailed
			}
			return err
		},
	}
	cmd.Flags().StringVar(&hub, "hub", "", "the `folder` with parsers, scenarios, data and tests")
	cmd.Flags().StringVarP(&output, "output", "o", "text", "text or json")
	cmd.Flags().IntVar(&parallel, "parallel", runtime.GOMAXPROCS(0), "how many tests run at once")
	cmd.Flags().BoolVar(&reference, "reference", false, "run on the plain expression and pattern engines only")
	return cmd
}

func printResult(w io.Writer, r hubtest.Result) {
	for _, f := range r.Disregarded {
		fmt.Fprintf(w, "%s: disregarded, as by CrowdSec: %s\n", r.Name, f)
	}
	if r.Error != "" {
		fmt.Fprintf(w, "%s: %s\n", r.Name, r.Error)
	}
	for _, f := range r.Failures {
		fmt.Fprintf(w, "%s: %s\n", r.Name, f)
	}
}
