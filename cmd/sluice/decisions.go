package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"sluice/cmd/internal/table"
	"sluice/pipeline/lapi"
	"sluice/sinks/localapi"
	"sluice/sinks/localapi/blocklist"
)

func decisionsCommand() *cobra.Command {
	var flags apiFlags
	return group("decisions", "List, add and withdraw decisions", &flags,
		decisionsList(&flags), decisionsAdd(&flags), decisionsDelete(&flags), decisionsImport(&flags), decisionsExport(&flags))
}

func decisionsList(flags *apiFlags) *cobra.Command {
	var filter filterFlags
	cmd := &cobra.Command{
		Use: "list", Short: "List the decisions in force", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return flags.with(cmd.Context(), func(c *localapi.Client) error {
				var found []localapi.Shown
				if err := c.Do(cmd.Context(), http.MethodGet, "/decisions?"+filter.query("type").Encode(), nil, &found); err != nil {
					return err
				}
				rows := make([][]string, len(found))
				for i := range found {
					d := &found[i]
					typ := d.Type
					if d.Simulated {
						typ += " (simulated)"
					}
					rows[i] = []string{strconv.FormatInt(d.ID, 10), d.Origin, d.Scope, d.Value, d.Scenario, typ, left(d.Until), strconv.FormatInt(d.Alert, 10)}
				}
				return table.Write(cmd.OutOrStdout(), flags.output, []string{"id", "origin", "scope", "value", "reason", "type", "left", "alert"}, rows, found)
			})
		},
	}
	filter.add(cmd, false)
	return cmd
}

func decisionsAdd(flags *apiFlags) *cobra.Command {
	var filter filterFlags
	var length, reason string
	cmd := &cobra.Command{
		Use: "add (--ip ADDRESS | --range RANGE | --scope SCOPE --value VALUE)", Short: "Decide on an address, a range, or another value",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			scope, value := filter.scope, filter.value
			switch {
			case filter.ip != "":
				scope, value = "Ip", filter.ip
			case filter.rng != "":
				scope, value = "Range", filter.rng
			}
			if scope == "" || value == "" {
				return usageError{fmt.Errorf("name an --ip, a --range, or a --scope with a --value")}
			}
			typ := filter.typ
			if typ == "" {
				typ = "ban"
			}
			d := lapi.Decision{Origin: "cscli", Type: typ, Scope: scope, Value: value, Duration: length, Scenario: reason}
			return flags.with(cmd.Context(), func(c *localapi.Client) error {
				var ids []string
				if err := c.Do(cmd.Context(), http.MethodPost, "/alerts", []lapi.Alert{manual(reason, scope, value, []lapi.Decision{d})}, &ids); err != nil {
					return err
				}
				fmt.Fprintf(cmd.OutOrStdout(), "%s on %s %s for %s\n", typ, scope, value, length)
				return nil
			})
		},
	}
	filter.add(cmd, false)
	cmd.Flags().StringVarP(&length, "duration", "d", "4h", "how long it lasts, such as 4h or 7d")
	cmd.Flags().StringVarP(&reason, "reason", "R", "manual decision", "why, in a few words")
	return cmd
}

// manual returns the alert that decisions of a person come with.
func manual(reason, scope, value string, ds []lapi.Decision) lapi.Alert {
	now := time.Now().UTC().Format(time.RFC3339)
	return lapi.Alert{
		Scenario: reason, Message: reason, EventsCount: 1, StartAt: now, StopAt: now, Leakspeed: "0", Events: []lapi.Event{},
		Source: lapi.Source{Scope: scope, Value: value}, Decisions: &ds,
	}
}

func decisionsDelete(flags *apiFlags) *cobra.Command {
	var filter filterFlags
	var id int64
	var all bool
	cmd := &cobra.Command{
		Use: "delete (--id ID | --all | FILTER...)", Short: "Withdraw decisions", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			path := "/decisions?" + filter.query("type").Encode()
			switch {
			case id > 0:
				path = fmt.Sprintf("/decisions/%d", id)
			case !filter.some() && !all:
				return usageError{fmt.Errorf("name what is to be withdrawn, or --all")}
			}
			return flags.with(cmd.Context(), func(c *localapi.Client) error { return deleteThem(cmd, c, path) })
		},
	}
	filter.add(cmd, false)
	cmd.Flags().Int64Var(&id, "id", 0, "the `number` of a decision")
	cmd.Flags().BoolVar(&all, "all", false, "all of them")
	return cmd
}

func deleteThem(cmd *cobra.Command, c *localapi.Client, path string) error {
	var deleted lapi.DeleteDecisionResponse
	if err := c.Do(cmd.Context(), http.MethodDelete, path, nil, &deleted); err != nil {
		return err
	}
	fmt.Fprintf(cmd.OutOrStdout(), "%s deleted\n", *deleted.NbDeleted)
	return nil
}

// importBatch is how many decisions one request of an import holds.
const importBatch = 10_000

func decisionsImport(flags *apiFlags) *cobra.Command {
	o := blocklist.Options{Type: "ban", Duration: "24h", Reason: "imported"}
	var origin string
	cmd := &cobra.Command{
		Use: "import FILE", Short: "Add the decisions of a file: plain addresses and ranges, CSV with a header, or JSON",
		Long: "Add the decisions of a file, or of standard input (-). A plain file has an address or a range a line, with\n" +
			"comments behind # or ;. A CSV file has a header with value and, if need be, duration, scope, reason, type.\n" +
			"A JSON file is an array of objects with these keys: what `sluice decisions export` writes.",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			in, err := openInput(args[0], cmd.InOrStdin())
			if err != nil {
				return err
			}
			defer in.Close()
			return flags.with(cmd.Context(), func(c *localapi.Client) error {
				n, err := 0, error(nil)
				batch := make([]lapi.Decision, 0, importBatch)
				send := func() error {
					if len(batch) == 0 {
						return nil
					}
					err := c.Do(cmd.Context(), http.MethodPost, "/alerts", []lapi.Alert{manual(o.Reason, "import", args[0], batch)}, nil)
					n += len(batch)
					batch = batch[:0]
					return err
				}
				err = blocklist.Read(in, o, func(d blocklist.Decision) error {
					batch = append(batch, lapi.Decision{Origin: origin, Type: d.Type, Scope: d.Scope, Value: d.Value, Duration: d.Duration, Scenario: d.Reason})
					if len(batch) < importBatch {
						return nil
					}
					return send()
				})
				if err == nil {
					err = send()
				}
				if err != nil {
					return fmt.Errorf("%s: %w (%d were added before)", args[0], err, n)
				}
				fmt.Fprintf(cmd.OutOrStdout(), "%d added\n", n)
				return nil
			})
		},
	}
	cmd.Flags().StringVar(&o.Format, "format", "", "plain, csv or json; told by the file's beginning when empty")
	cmd.Flags().StringVarP(&o.Type, "type", "t", o.Type, "the `type` of decisions that name none")
	cmd.Flags().StringVarP(&o.Duration, "duration", "d", o.Duration, "how long those last that do not say")
	cmd.Flags().StringVarP(&o.Reason, "reason", "R", o.Reason, "why, for those that do not say")
	cmd.Flags().StringVar(&origin, "origin", "cscli-import", "whose decisions they are")
	return cmd
}

func decisionsExport(flags *apiFlags) *cobra.Command {
	var filter filterFlags
	cmd := &cobra.Command{
		Use: "export", Short: "Write the decisions in force as import reads them", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return flags.with(cmd.Context(), func(c *localapi.Client) error {
				var found []localapi.Shown
				if err := c.Do(cmd.Context(), http.MethodGet, "/decisions?"+filter.query("type").Encode(), nil, &found); err != nil {
					return err
				}
				format := flags.output
				if format == table.Text {
					format = table.JSON
				}
				items := make([]blocklist.Decision, len(found))
				rows := make([][]string, len(found))
				for i := range found {
					d := &found[i]
					items[i] = blocklist.Decision{Value: d.Value, Scope: d.Scope, Type: d.Type, Duration: left(d.Until), Reason: d.Scenario, Origin: d.Origin}
					rows[i] = []string{d.Value, d.Scope, d.Type, items[i].Duration, d.Scenario, d.Origin}
				}
				return table.Write(cmd.OutOrStdout(), format, []string{"value", "scope", "type", "duration", "reason", "origin"}, rows, items)
			})
		},
	}
	filter.add(cmd, false)
	return cmd
}

// openInput opens a file, or standard input for "-".
func openInput(path string, stdin io.Reader) (io.ReadCloser, error) {
	if path == "-" {
		return io.NopCloser(stdin), nil
	}
	return os.Open(path)
}
