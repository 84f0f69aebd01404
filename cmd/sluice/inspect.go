package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"sluice/cmd/internal/table"
	"sluice/pipeline/lapi"
	"sluice/sinks/localapi"
	"sluice/sinks/localapi/store"
)

const inspectLong = "Show what is known of it, and the usage metrics that it reported last. For a terminal a long report is cut;\n" +
	"-o json has all of it, as it came, and -o csv has the metrics."

func bouncersInspect(flags *apiFlags) *cobra.Command {
	return &cobra.Command{
		Use: "inspect NAME", Short: "Show a bouncer, and the metrics that it reported last", Long: inspectLong, Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return flags.with(cmd.Context(), func(c *localapi.Client) error {
				var found localapi.Inspected[store.Bouncer]
				if err := c.Do(cmd.Context(), http.MethodGet, "/bouncers/"+url.PathEscape(args[0]), nil, &found); err != nil {
					return err
				}
				b := &found.About
				return inspect(cmd.OutOrStdout(), flags.output, [][]string{
					{"name", b.Name}, {"address", b.Address}, {"kind", b.Kind}, {"version", b.Version},
					{"created", ago(b.Created)}, {"last pull", ago(b.LastPull)}, {"last report", ago(b.Reported.At)},
				}, found.Report, found)
			})
		},
	}
}

func machinesInspect(flags *apiFlags) *cobra.Command {
	return &cobra.Command{
		Use: "inspect NAME", Short: "Show a machine, and the metrics that it reported last", Long: inspectLong, Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return flags.with(cmd.Context(), func(c *localapi.Client) error {
				var found localapi.Inspected[store.Machine]
				if err := c.Do(cmd.Context(), http.MethodGet, "/machines/"+url.PathEscape(args[0]), nil, &found); err != nil {
					return err
				}
				m := &found.About
				return inspect(cmd.OutOrStdout(), flags.output, [][]string{
					{"name", m.Name}, {"address", m.Address}, {"version", m.Version}, {"status", status(m)}, {"created", ago(m.Created)},
					{"last login", ago(m.LastLogin)}, {"last heartbeat", ago(m.LastBeat)}, {"last push", ago(m.LastPush)}, {"last report", ago(m.Reported.At)},
				}, found.Report, found)
			})
		},
	}
}

// A report is a stranger's, of up to 1 MiB: for a terminal so many rows of it are shown, and so many letters of a cell.
const maxRows, maxCell = 100, 120

// inspect writes what is known of a bouncer or machine, and what it reported.
func inspect(w io.Writer, output string, facts [][]string, report json.RawMessage, item any) error {
	all, err := localapi.Components(report)
	if err != nil {
		return err
	}
	var rows [][]string
	for i := range all {
		facts = append(facts, componentFacts(&all[i])...)
		rows = append(rows, metricRows(&all[i])...)
	}
	header := []string{"metric", "value", "unit", "labels", "window", "until"}
	if output != table.Text {
		return table.Write(w, output, header, rows, item)
	}
	if err := writeSome(w, []string{"field", "value"}, facts); err != nil {
		return err
	}
	fmt.Fprintln(w)
	if len(rows) > 0 {
		return writeSome(w, header, rows)
	}
	none := "no metrics: there are none in its last report"
	if len(all) == 0 {
		none = "no metrics: it has reported none yet; docs/bouncers.md says what reports them, and when"
	}
	_, err = fmt.Fprintln(w, none)
	return err
}

// writeSome writes a table of no more than a terminal has use for, and says what it leaves out.
func writeSome(w io.Writer, header []string, rows [][]string) error {
	more := len(rows) - maxRows
	rows = rows[:min(len(rows), maxRows)]
	for _, row := range rows {
		for i, cell := range row {
			if letters := []rune(cell); len(letters) > maxCell {
				row[i] = string(letters[:maxCell]) + "…"
			}
		}
	}
	if err := table.Write(w, table.Text, header, rows, nil); err != nil || more <= 0 {
		return err
	}
	_, err := fmt.Fprintf(w, "… and %d more; -o json shows all\n", more)
	return err
}

// componentFacts says what a program told of itself, but for what it left out.
func componentFacts(c *localapi.Component) (rows [][]string) {
	fact := func(name, value string) {
		if value != "" {
			rows = append(rows, []string{name, value})
		}
	}
	fact("reported type", c.Type)
	fact("reported version", c.Version)
	fact("os", c.System())
	fact("up since", moment(c.UtcStartupTimestamp))
	if c.FeatureFlags != nil {
		fact("features", strings.Join(*c.FeatureFlags, " "))
	}
	fact("data sources", counts(c.Datasources))
	items := make(map[string]int, len(c.HubItems))
	for typ, of := range c.HubItems {
		items[typ] = len(of)
	}
	fact("hub items", counts(items))
	return rows
}

// counts writes how many there are of each name.
func counts(of map[string]int) string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(of)) {
		parts = append(parts, fmt.Sprintf("%s:%d", name, of[name]))
	}
	return strings.Join(parts, " ")
}

// metricRows are the metrics of a program, in the order in which it reported them.
func metricRows(c *localapi.Component) (rows [][]string) {
	if c.Metrics == nil {
		return nil
	}
	for _, group := range *c.Metrics {
		window, until := strconv.Itoa(group.Meta.WindowSizeSeconds)+"s", moment(group.Meta.UtcNowTimestamp)
		for _, m := range group.Items {
			rows = append(rows, []string{m.Name, number(m.Value), m.Unit, labels(m.Labels), window, until})
		}
	}
	return rows
}

func labels(of *lapi.MetricsLabels) string {
	if of == nil {
		return ""
	}
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(*of)) {
		parts = append(parts, name+"="+(*of)[name])
	}
	return strings.Join(parts, " ")
}

// number writes a count in digits, and what is too large for one with its power of ten.
func number(v float64) string {
	if math.Abs(v) < 1e15 {
		return strconv.FormatFloat(v, 'f', -1, 64)
	}
	return strconv.FormatFloat(v, 'g', -1, 64)
}

// moment writes seconds since 1970, which are a stranger's: as a time, where they are one.
func moment(seconds int) string {
	const lastYear = 253402300799 // the end of 9999
	s := int64(seconds)
	if s < 0 || s > lastYear {
		return strconv.Itoa(seconds)
	}
	return time.Unix(s, 0).UTC().Format(time.RFC3339)
}
