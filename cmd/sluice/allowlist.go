package main

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"sluice/cmd/internal/table"
	"sluice/pipeline/decisions"
	"sluice/pipeline/duration"
	"sluice/sinks/localapi"
	"sluice/sinks/localapi/store"
)

func allowlistCommand() *cobra.Command {
	var flags apiFlags
	return group("allowlist", "Name addresses and ranges on which nothing is decided", &flags,
		allowlistList(&flags), allowlistShow(&flags), allowlistAdd(&flags), allowlistRemove(&flags),
		change(&flags, "delete", "Forget an allow-list; what it withdrew stays withdrawn", http.MethodDelete, "/allowlists/%s"))
}

// allowlists asks for all lists.
func allowlists(cmd *cobra.Command, c *localapi.Client) ([]store.Allowlist, error) {
	var all []store.Allowlist
	err := c.Do(cmd.Context(), http.MethodGet, "/allowlists", nil, &all)
	return all, err
}

func allowlistList(flags *apiFlags) *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List the allow-lists", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return flags.with(cmd.Context(), func(c *localapi.Client) error {
				all, err := allowlists(cmd, c)
				if err != nil {
					return err
				}
				rows := make([][]string, len(all))
				for i := range all {
					rows[i] = []string{all[i].Name, strconv.Itoa(len(all[i].Items)), all[i].Description, ago(all[i].Updated)}
				}
				return table.Write(cmd.OutOrStdout(), flags.output, []string{"name", "items", "description", "updated"}, rows, all)
			})
		},
	}
}

func allowlistShow(flags *apiFlags) *cobra.Command {
	return &cobra.Command{
		Use: "show NAME", Short: "Show what is in an allow-list", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return flags.with(cmd.Context(), func(c *localapi.Client) error {
				l, err := allowlistNamed(cmd, c, args[0])
				if err != nil {
					return err
				}
				rows := make([][]string, len(l.Items))
				for i := range l.Items {
					it := &l.Items[i]
					until := "for good"
					if !it.Until.IsZero() {
						until = ago(it.Until)
					}
					rows[i] = []string{it.Value, until, it.Comment}
				}
				return table.Write(cmd.OutOrStdout(), flags.output, []string{"value", "until", "comment"}, rows, l.Items)
			})
		},
	}
}

func allowlistNamed(cmd *cobra.Command, c *localapi.Client, name string) (store.Allowlist, error) {
	all, err := allowlists(cmd, c)
	if err != nil {
		return store.Allowlist{}, err
	}
	i := slices.IndexFunc(all, func(l store.Allowlist) bool { return l.Name == name })
	if i < 0 {
		return store.Allowlist{}, fmt.Errorf("there is no allow-list %q", name)
	}
	return all[i], nil
}

func allowlistAdd(flags *apiFlags) *cobra.Command {
	var comment, length, description string
	cmd := &cobra.Command{
		Use: "add NAME VALUE...", Short: "Put addresses and ranges on an allow-list, and withdraw what was decided on them", Args: cobra.MinimumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			until := time.Time{}
			if length != "" {
				d, err := duration.Parse(length)
				if err != nil {
					return usageError{err}
				}
				until = time.Now().Add(d).UTC().Truncate(time.Second)
			}
			return flags.with(cmd.Context(), func(c *localapi.Client) error {
				l, err := allowlistNamed(cmd, c, args[0])
				if err != nil {
					l = store.Allowlist{Name: args[0], ID: uuid.NewString()}
				}
				if description != "" {
					l.Description = description
				}
				now := time.Now().UTC().Truncate(time.Second)
				for _, value := range args[1:] {
					l.Items = slices.DeleteFunc(l.Items, func(it store.Allowed) bool { return same(it.Value, value) })
					l.Items = append(l.Items, store.Allowed{Value: value, Comment: comment, Created: now, Until: until})
				}
				return putAllowlist(cmd, c, &l)
			})
		},
	}
	cmd.Flags().StringVarP(&comment, "comment", "m", "", "why they are on it")
	cmd.Flags().StringVarP(&length, "expire", "e", "", "how long they stay on it, such as 7d; for good when empty")
	cmd.Flags().StringVar(&description, "description", "", "what the list is for")
	return cmd
}

// same tells whether two texts name the same address or range.
func same(a, b string) bool {
	p, err := decisions.ParsePrefix(a)
	q, err2 := decisions.ParsePrefix(b)
	return errors.Join(err, err2) == nil && p == q
}

func putAllowlist(cmd *cobra.Command, c *localapi.Client, l *store.Allowlist) error {
	var w localapi.Withdrawn
	if err := c.Do(cmd.Context(), http.MethodPut, "/allowlists/"+url.PathEscape(l.Name), l, &w); err != nil {
		return err
	}
	fmt.Fprintf(cmd.OutOrStdout(), "%s: %d items, %d decisions withdrawn\n", l.Name, len(l.Items), w.Withdrawn)
	return nil
}

func allowlistRemove(flags *apiFlags) *cobra.Command {
	return &cobra.Command{
		Use: "remove NAME VALUE...", Short: "Take addresses and ranges off an allow-list", Args: cobra.MinimumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return flags.with(cmd.Context(), func(c *localapi.Client) error {
				l, err := allowlistNamed(cmd, c, args[0])
				if err != nil {
					return err
				}
				for _, value := range args[1:] {
					before := len(l.Items)
					l.Items = slices.DeleteFunc(l.Items, func(it store.Allowed) bool { return same(it.Value, value) })
					if len(l.Items) == before {
						return fmt.Errorf("%q is not on the allow-list %q", value, args[0])
					}
				}
				return putAllowlist(cmd, c, &l)
			})
		},
	}
}
