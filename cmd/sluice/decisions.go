package main

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"sluice/cmd/internal/table"
	"sluice/pipeline/decisions"
	"sluice/pipeline/lapi"
	"sluice/sinks/format"
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
			header := []string{"id", "origin", "scope", "value", "reason", "type", "left", "alert"}
			return printDecisions(cmd, flags, &filter, flags.output, header, func(d *localapi.Shown) ([]string, any) {
				typ := d.Type
				if d.Simulated {
					typ += " (simulated)"
				}
				return []string{strconv.FormatInt(d.ID, 10), d.Origin, d.Scope, d.Value, d.Scenario, typ, left(d.Until), strconv.FormatInt(d.Alert, 10)}, d
			})
		},
	}
	filter.add(cmd, false)
	return cmd
}

// printDecisions writes the decisions in force that a filter selects, as they
// come: there may be a million. row returns how one is written, in cells and in full.
func printDecisions(cmd *cobra.Command, flags *apiFlags, filter *filterFlags, format string, header []string, row func(d *localapi.Shown) ([]string, any)) error {
	return flags.with(cmd.Context(), func(c *localapi.Client) error {
		out := table.NewWriter(cmd.OutOrStdout(), format, header)
		err := localapi.Each(cmd.Context(), c, "/decisions?"+filter.query("type").Encode(), func(d *localapi.Shown) error { return out.Row(row(d)) })
		if err != nil {
			return err
		}
		return out.Close()
	})
}

func decisionsAdd(flags *apiFlags) *cobra.Command {
	var ip, rng string
	d := lapi.Decision{}
	cmd := &cobra.Command{
		Use: "add (--ip ADDRESS | --range RANGE | --scope SCOPE --value VALUE)", Short: "Decide on an address, a range, or another value",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ways := 0
			for _, way := range []struct{ scope, value string }{{"Ip", ip}, {"Range", rng}, {d.Scope, d.Value}} {
				if way.value != "" && way.scope != "" {
					ways++
					d.Scope, d.Value = way.scope, way.value
				}
			}
			if ways != 1 {
				return usageError{fmt.Errorf("name one of an --ip, a --range, and a --scope with a --value")}
			}
			if err := validValue(d.Scope, d.Value); err != nil {
				return usageError{fmt.Errorf("the flag --%s: %w", flagOfValue(ip, rng), err)}
			}
			if _, err := length("duration", d.Duration); err != nil {
				return err
			}
			return flags.with(cmd.Context(), func(c *localapi.Client) error {
				var ids []string
				if err := c.Do(cmd.Context(), http.MethodPost, "/alerts", []lapi.Alert{manual(d.Scenario, d.Scope, d.Value, []lapi.Decision{d})}, &ids); err != nil {
					return err
				}
				if err := decided(cmd, c, ids, &d); err != nil {
					return err
				}
				return flags.said(cmd, fmt.Sprintf("%s on %s %s for %s", d.Type, d.Scope, d.Value, d.Duration),
					[]string{"type", "scope", "value", "duration"}, []string{d.Type, d.Scope, d.Value, d.Duration}, d)
			})
		},
	}
	fs := cmd.Flags()
	fs.StringVarP(&ip, "ip", "i", "", "an `address`")
	fs.StringVarP(&rng, "range", "r", "", "a `range`")
	fs.StringVar(&d.Scope, "scope", "", "a `scope`, such as Country")
	fs.StringVarP(&d.Value, "value", "v", "", "a `value` of the scope")
	fs.StringVarP(&d.Type, "type", "t", "ban", "the `type`, such as ban or captcha")
	fs.StringVarP(&d.Duration, "duration", "d", "4h", "how long it lasts, such as 4h or 7d")
	fs.StringVarP(&d.Scenario, "reason", "R", "manual decision", "why, in a few words")
	fs.StringVar(&d.Origin, "origin", "cscli", "whose decision it is")
	return cmd
}

// flagOfValue names the flag that told what is decided on.
func flagOfValue(ip, rng string) string {
	switch {
	case ip != "":
		return "ip"
	case rng != "":
		return "range"
	}
	return "value"
}

// validValue tells what is wrong with the value of a scope.
func validValue(scope, value string) error {
	switch decisions.CanonicalScope(scope) {
	case decisions.ScopeIP, decisions.ScopeRange:
		_, err := decisions.ParsePrefix(value)
		return err
	}
	return nil
}

// decided tells whether an alert has a decision, since an allow-list may have
// excepted it, and gives d the scope and the value that are in force:
// 192.0.2.1/24 is the range 192.0.2.0/24.
func decided(cmd *cobra.Command, c *localapi.Client, ids []string, d *lapi.Decision) error {
	if len(ids) != 1 {
		return nil
	}
	var a lapi.Alert
	if err := c.Do(cmd.Context(), http.MethodGet, "/alerts/"+ids[0], nil, &a); err != nil {
		return err
	}
	if a.Decisions != nil && len(*a.Decisions) > 0 {
		d.Scope, d.Value = (*a.Decisions)[0].Scope, (*a.Decisions)[0].Value
		return nil
	}
	if a.Meta == nil {
		return nil
	}
	for _, m := range *a.Meta {
		if m.Key != nil && m.Value != nil && *m.Key == format.MetaAllowlisted {
			return fmt.Errorf("nothing is decided on %s, since it is allowed: %s", d.Value, *m.Value)
		}
	}
	return nil
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
			path, err := filter.one("/decisions", "type", id, all)
			if err != nil {
				return err
			}
			return flags.with(cmd.Context(), func(c *localapi.Client) error { return deleteThem(cmd, flags, c, path) })
		},
	}
	filter.add(cmd, false)
	cmd.Flags().Int64Var(&id, "id", 0, "the `number` of a decision")
	cmd.Flags().BoolVar(&all, "all", false, "all of them")
	return cmd
}

func deleteThem(cmd *cobra.Command, flags *apiFlags, c *localapi.Client, path string) error {
	var deleted lapi.DeleteDecisionResponse
	if err := c.Do(cmd.Context(), http.MethodDelete, path, nil, &deleted); err != nil {
		return err
	}
	n, err := strconv.Atoi(*deleted.NbDeleted)
	if err != nil {
		return err
	}
	return flags.said(cmd, fmt.Sprintf("%d deleted", n), []string{"deleted"}, []string{strconv.Itoa(n)}, map[string]int{"deleted": n})
}

func decisionsImport(flags *apiFlags) *cobra.Command {
	o := blocklist.Options{Type: "ban", Duration: "24h", Reason: "imported"}
	var origin string
	cmd := &cobra.Command{
		Use: "import FILE", Short: "Add the decisions of a file: plain addresses and ranges, CSV with a header, or JSON",
		Long: "Add the decisions of a file, or of standard input (-). A plain file has an address or a range a line, with\n" +
			"comments behind # or ;. A CSV file has a header with value and, if need be, duration, scope, reason, type.\n" +
			"A JSON file is an array of objects with these keys: what `sluice decisions export` writes.\n\n" +
			"A decision of the same origin, value and type that would end before is replaced, and one that lasts as long stays:\n" +
			"a file that is imported again, whole or after a crash, is in force once.",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if _, err := length("duration", o.Duration); err != nil {
				return err
			}
			switch o.Format {
			case "", blocklist.Plain, blocklist.CSV, blocklist.JSON:
			default:
				return usageError{fmt.Errorf("the flag --format can be plain, csv or json, not %q", o.Format)}
			}
			in, err := openInput(args[0], cmd.InOrStdin())
			if err != nil {
				return err
			}
			defer in.Close()
			q := url.Values{
				"format": {o.Format}, "type": {o.Type}, "duration": {o.Duration}, "reason": {o.Reason}, "origin": {origin}, "source": {args[0]},
			}
			return flags.with(cmd.Context(), func(c *localapi.Client) error {
				var n localapi.Imported
				if err := c.Send(cmd.Context(), http.MethodPost, "/decisions/import?"+q.Encode(), in, &n); err != nil {
					return fmt.Errorf("%s: %w", args[0], err)
				}
				row := []string{strconv.Itoa(n.Added), strconv.Itoa(n.Renewed), strconv.Itoa(n.Kept), strconv.Itoa(n.Allowed), strconv.Itoa(n.Over)}
				return flags.said(cmd, imported(n), []string{"added", "renewed", "kept", "allowed", "over"}, row, n)
			})
		},
	}
	cmd.Flags().StringVar(&o.Format, "format", "", "plain, csv or json; told by the file's beginning when empty")
	cmd.Flags().StringVarP(&o.Type, "type", "t", o.Type, "the `type` of decisions that name none")
	cmd.Flags().StringVarP(&o.Duration, "duration", "d", o.Duration, "how long those last that do not say")
	cmd.Flags().StringVarP(&o.Reason, "reason", "R", o.Reason, "why, for those that do not say")
	cmd.Flags().StringVar(&origin, "origin", "", "whose decisions they are; when empty that which the file says, or cscli-import")
	return cmd
}

// imported says what became of a list.
func imported(n localapi.Imported) string {
	text := fmt.Sprintf("%d added", n.Added)
	for _, part := range []struct {
		n    int
		what string
	}{{n.Renewed, "renewed"}, {n.Kept, "in force already"}, {n.Allowed, "left out for allow-lists"}, {n.Over, "over already"}} {
		if part.n > 0 {
			text += fmt.Sprintf(", %d %s", part.n, part.what)
		}
	}
	return text
}

func decisionsExport(flags *apiFlags) *cobra.Command {
	var filter filterFlags
	cmd := &cobra.Command{
		Use: "export", Short: "Write the decisions in force as import reads them", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			format := flags.output
			if format == table.Text {
				format = table.JSON
			}
			header := []string{"value", "scope", "type", "duration", "reason", "origin"}
			return printDecisions(cmd, flags, &filter, format, header, func(d *localapi.Shown) ([]string, any) {
				it := blocklist.Decision{Value: d.Value, Scope: d.Scope, Type: d.Type, Duration: left(d.Until), Reason: d.Scenario, Origin: d.Origin}
				return []string{it.Value, it.Scope, it.Type, it.Duration, it.Reason, it.Origin}, it
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
