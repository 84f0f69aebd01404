package main

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"sluice/cmd/internal/table"
	"sluice/sinks/localapi"
)

func blocklistsCommand() *cobra.Command {
	var flags apiFlags
	return group("blocklists", "Look after the block lists that the sink local_api reads", &flags, blocklistsList(&flags), blocklistsRefresh(&flags))
}

// blocklists asks for all lists.
func blocklists(cmd *cobra.Command, c *localapi.Client) ([]localapi.Blocklist, error) {
	var all []localapi.Blocklist
	err := c.Do(cmd.Context(), http.MethodGet, "/blocklists", nil, &all)
	return all, err
}

func blocklistsList(flags *apiFlags) *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List the block lists: what they hold, when they were read last, and what went wrong", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return flags.with(cmd.Context(), func(c *localapi.Client) error {
				all, err := blocklists(cmd, c)
				if err != nil {
					return err
				}
				rows := make([][]string, len(all))
				for i := range all {
					l := &all[i]
					rows[i] = []string{
						l.Name, strconv.Itoa(l.InForce), strconv.Itoa(l.Items), strconv.Itoa(l.Allowed), strconv.Itoa(l.Malformed),
						ago(l.LastSuccess), ago(l.LastChange), next(l.Next), l.From, l.LastError,
					}
				}
				header := []string{"name", "in force", "items", "allowed", "malformed", "last read", "last changed", "next", "from", "error"}
				return table.Write(cmd.OutOrStdout(), flags.output, header, rows, all)
			})
		},
	}
}

// next writes when something happens, which nobody knows where nothing runs.
func next(t time.Time) string {
	if t.IsZero() {
		return "when sluice runs"
	}
	return t.UTC().Format(time.RFC3339)
}

func blocklistsRefresh(flags *apiFlags) *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use: "refresh [NAME...]", Short: "Read block lists now: those that are named, or all",
		RunE: func(cmd *cobra.Command, args []string) error {
			return flags.with(cmd.Context(), func(c *localapi.Client) error {
				if len(args) == 0 {
					all, err := blocklists(cmd, c)
					if err != nil {
						return err
					}
					for i := range all {
						args = append(args, all[i].Name)
					}
				}
				var rows [][]string
				done, failed := []refreshed{}, error(nil)
				for _, name := range args {
					out, err := refreshBlocklist(cmd, flags, c, name, force)
					if err != nil {
						fmt.Fprintln(cmd.ErrOrStderr(), err)
						failed = fmt.Errorf("not every list could be read; what the others held stays in force")
						continue
					}
					done = append(done, out)
					rows = append(rows, []string{name, strconv.Itoa(out.Items), strconv.Itoa(out.Added), strconv.Itoa(out.Removed), strconv.Itoa(out.Allowed), strconv.Itoa(out.Malformed)})
				}
				if flags.output == table.Text && len(args) > 0 {
					return failed // each has been told of
				}
				return errors.Join(failed, table.Write(cmd.OutOrStdout(), flags.output, []string{"name", "items", "added", "removed", "allowed", "malformed"}, rows, done))
			})
		},
	}
	cmd.Flags().BoolVar(&force, "force", false, "believe a list that holds much less than before, and ask for it whole")
	return cmd
}

// refreshed is what reading a list came to.
type refreshed struct {
	Name string `json:"name"`
	localapi.Outcome
}

func refreshBlocklist(cmd *cobra.Command, flags *apiFlags, c *localapi.Client, name string, force bool) (refreshed, error) {
	out := refreshed{Name: name}
	path := fmt.Sprintf("/blocklists/%s/refresh?force=%t", url.PathEscape(name), force)
	if err := c.Do(cmd.Context(), http.MethodPost, path, nil, &out.Outcome); err != nil || flags.output != table.Text {
		return out, err
	}
	text := fmt.Sprintf("%d items, %d added, %d removed", out.Items, out.Added, out.Removed)
	if out.Allowed > 0 {
		text += fmt.Sprintf(", %d allowed", out.Allowed)
	}
	if out.Malformed > 0 {
		text += fmt.Sprintf(", %d lines are no items", out.Malformed)
	}
	_, err := fmt.Fprintf(cmd.OutOrStdout(), "%s: %s\n", name, text)
	return out, err
}
