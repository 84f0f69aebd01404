package main

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"sluice/cmd/internal/table"
	"sluice/pipeline/lapi"
	"sluice/sinks/localapi"
)

func alertsCommand() *cobra.Command {
	var flags apiFlags
	return group("alerts", "List, show and delete alerts", &flags, alertsList(&flags), alertsShow(&flags), alertsDelete(&flags))
}

func alertsList(flags *apiFlags) *cobra.Command {
	var filter filterFlags
	cmd := &cobra.Command{
		Use: "list", Short: "List alerts, the newest first", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return flags.with(cmd.Context(), func(c *localapi.Client) error {
				var found []lapi.Alert
				if err := c.Do(cmd.Context(), http.MethodGet, "/alerts?"+filter.query("decision_type").Encode(), nil, &found); err != nil {
					return err
				}
				rows := make([][]string, len(found))
				for i := range found {
					rows[i] = alertRow(&found[i])
				}
				return table.Write(cmd.OutOrStdout(), flags.output, []string{"id", "value", "scenario", "country", "as", "decisions", "created"}, rows, found)
			})
		},
	}
	filter.add(cmd, true)
	return cmd
}

func alertRow(a *lapi.Alert) []string {
	text := func(s *string) string {
		if s == nil {
			return ""
		}
		return *s
	}
	var ds []string
	if a.Decisions != nil {
		counts := make(map[string]int)
		for _, d := range *a.Decisions {
			if counts[d.Type]++; counts[d.Type] == 1 {
				ds = append(ds, d.Type)
			}
		}
		for i, typ := range ds {
			ds[i] = fmt.Sprintf("%s:%d", typ, counts[typ])
		}
	}
	return []string{
		strconv.Itoa(*a.Id), a.Source.Scope + ":" + a.Source.Value, a.Scenario, text(a.Source.Cn),
		strings.TrimSpace(text(a.Source.AsNumber) + " " + text(a.Source.AsName)), strings.Join(ds, " "), text(a.CreatedAt),
	}
}

func alertsShow(flags *apiFlags) *cobra.Command {
	return &cobra.Command{
		Use: "show ID", Short: "Show an alert whole, as JSON", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := strconv.ParseUint(args[0], 10, 63)
			if err != nil {
				return usageError{fmt.Errorf("%q is no number of an alert", args[0])}
			}
			return flags.with(cmd.Context(), func(c *localapi.Client) error {
				var a lapi.Alert
				if err := c.Do(cmd.Context(), http.MethodGet, fmt.Sprintf("/alerts/%d", id), nil, &a); err != nil {
					return err
				}
				return table.Write(cmd.OutOrStdout(), table.JSON, nil, nil, a)
			})
		},
	}
}

func alertsDelete(flags *apiFlags) *cobra.Command {
	var filter filterFlags
	var id int64
	var all bool
	cmd := &cobra.Command{
		Use: "delete (--id ID | --all | FILTER...)", Short: "Delete alerts, and withdraw their decisions", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			path, err := filter.one("/alerts", "decision_type", id, all)
			if err != nil {
				return err
			}
			return flags.with(cmd.Context(), func(c *localapi.Client) error { return deleteThem(cmd, flags, c, path) })
		},
	}
	filter.add(cmd, false)
	cmd.Flags().Int64Var(&id, "id", 0, "the `number` of an alert")
	cmd.Flags().BoolVar(&all, "all", false, "all of them")
	return cmd
}
