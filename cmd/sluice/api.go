package main

import (
	"context"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"sluice/cmd/internal/app"
	"sluice/cmd/internal/table"
	"sluice/pipeline/duration"
	"sluice/sinks/localapi"
)

// apiFlags are those of every command that asks the local API.
type apiFlags struct{ config, output string }

func (f *apiFlags) add(cmd *cobra.Command) {
	cmd.PersistentFlags().StringVarP(&f.config, "config", "c", "", "the configuration `file` of the pipeline, with a sink of type local_api")
	cmd.PersistentFlags().StringVarP(&f.output, "output", "o", table.Text, "`table`, json or csv")
}

// with calls do with a client of the running sluice, or of its folder.
func (f *apiFlags) with(ctx context.Context, do func(c *localapi.Client) error) (err error) {
	if err := required("config", f.config); err != nil {
		return err
	}
	if err := table.Check(f.output); err != nil {
		return usageError{err}
	}
	config, err := app.Load(f.config)
	if err != nil {
		return err
	}
	client, err := config.LocalAPI(ctx, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	defer func() {
		if failed := client.Close(); err == nil {
			err = failed
		}
	}()
	return do(client)
}

// said tells what was done: in a sentence, or as a row or an object for programs.
func (f *apiFlags) said(cmd *cobra.Command, sentence string, header, row []string, item any) error {
	if f.output == table.Text {
		_, err := fmt.Fprintln(cmd.OutOrStdout(), sentence)
		return err
	}
	return table.Write(cmd.OutOrStdout(), f.output, header, [][]string{row}, item)
}

// group makes a command that has others.
func group(use, short string, flags *apiFlags, commands ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{
		Use: use, Short: short, Args: cobra.NoArgs,
		Long: short + ".\n\nIt asks the running sluice of the configuration file, or, where none runs, the folder of its state.",
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	flags.add(cmd)
	cmd.AddCommand(commands...)
	return cmd
}

// filterFlags select alerts or decisions.
type filterFlags struct {
	ip, rng, scope, value, scenario, typ, origin, since, until string
	limit                                                      int
}

func (f *filterFlags) add(cmd *cobra.Command, alerts bool) {
	fs := cmd.Flags()
	fs.StringVarP(&f.ip, "ip", "i", "", "about an `address`")
	fs.StringVarP(&f.rng, "range", "r", "", "within a `range`")
	fs.StringVar(&f.scope, "scope", "", "of a `scope`, such as Ip, Range, Country")
	fs.StringVarP(&f.value, "value", "v", "", "about a `value` of the scope")
	fs.StringVarP(&f.scenario, "scenario", "s", "", "of a `scenario`")
	fs.StringVarP(&f.typ, "type", "t", "", "of a `type`, such as ban")
	fs.StringVar(&f.origin, "origin", "", "of an `origin`, such as crowdsec, cscli, lists")
	fs.StringVar(&f.since, "since", "", "newer than a `time or duration`, such as 2026-03-01T12:00:00Z or 4h")
	fs.StringVar(&f.until, "until", "", "older than a `time or duration`, such as 2026-03-01T12:00:00Z or 4h")
	if alerts {
		fs.IntVarP(&f.limit, "limit", "l", 50, "at most so many; 0 for all")
	}
}

// query returns the parameters; typ is the name of that for the type.
func (f *filterFlags) query(typ string) url.Values {
	q := url.Values{}
	for _, p := range []struct{ name, value string }{
		{"ip", f.ip}, {"range", f.rng}, {"scope", f.scope}, {"value", f.value}, {"scenario", f.scenario}, {typ, f.typ},
		{"origin", f.origin}, {"since", f.since}, {"until", f.until},
	} {
		if p.value != "" {
			q.Set(p.name, p.value)
		}
	}
	if f.rng != "" {
		q.Set("contains", "false")
	}
	if f.limit > 0 {
		q.Set("limit", fmt.Sprint(f.limit))
	}
	return q
}

// one returns the path of what a command names: one thing by its id, or all
// that the flags select.
func (f *filterFlags) one(path, typ string, id int64, all bool) (string, error) {
	switch {
	case id < 0 || id > 0 && (f.some() || all):
		return "", usageError{fmt.Errorf("name one by --id, or several by the other flags, not both")}
	case id > 0:
		return fmt.Sprintf("%s/%d", path, id), nil
	case !f.some() && !all:
		return "", usageError{fmt.Errorf("name what is to go, or --all")}
	}
	return path + "?" + f.query(typ).Encode(), nil
}

// length reads how long something lasts, which must be above 0.
func length(flag, text string) (time.Duration, error) {
	d, err := duration.Parse(text)
	if err == nil && d <= 0 {
		err = fmt.Errorf("%s is not above 0", text)
	}
	if err != nil {
		return 0, usageError{fmt.Errorf("the flag --%s: %w", flag, err)}
	}
	return d, nil
}

// some tells whether anything is selected.
func (f *filterFlags) some() bool {
	return strings.Join([]string{f.ip, f.rng, f.scope, f.value, f.scenario, f.typ, f.origin, f.since, f.until}, "") != ""
}

// left writes what is left of a time, such as 3h59m10s.
func left(until time.Time) string { return time.Until(until).Truncate(time.Second).String() }

// ago writes a time that may never have been.
func ago(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return t.UTC().Format(time.RFC3339)
}
