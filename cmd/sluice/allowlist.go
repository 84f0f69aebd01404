package main

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"sluice/cmd/internal/table"
	"sluice/sinks/localapi"
	"sluice/sinks/localapi/store"
)

func allowlistCommand() *cobra.Command {
	var flags apiFlags
	return group("allowlist", "Name addresses, ranges and conditions on which nothing is decided", &flags,
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
					rows[i] = []string{it.Text(), until, it.Comment}
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
		return store.Allowlist{}, fmt.Errorf("allow-list %q: there is none of that name; `sluice allowlist list` shows those that people keep, and those of the configuration are in its file", name)
	}
	return all[i], nil
}

func allowlistAdd(flags *apiFlags) *cobra.Command {
	var comment, expire, description string
	var expressions []string
	cmd := &cobra.Command{
		Use: "add NAME (VALUE... | --expression EXPRESSION)", Short: "Put addresses, ranges and conditions on an allow-list, and withdraw what was decided on them",
		Long: "Put addresses, ranges and conditions on an allow-list, and withdraw what was decided on them.\n\n" +
			"An expression looks at Alert, as the filters of profiles do: nothing is decided on alerts that it holds for, such as\n" +
			"--expression 'Alert.Source.AsNumber == \"15169\"'. A range is excepted by an item around it, and by one inside it.",
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 && len(expressions) == 0 {
				return usageError{fmt.Errorf("name an address, a range, or an --expression")}
			}
			until := time.Time{}
			if expire != "" {
				d, err := length("expire", expire)
				if err != nil {
					return err
				}
				until = time.Now().Add(d).UTC().Truncate(time.Second)
			}
			change := store.AllowlistChange{Description: description}
			for _, value := range args[1:] {
				change.Add = append(change.Add, store.Allowed{Value: value, Comment: comment, Until: until})
			}
			for _, src := range expressions {
				change.Add = append(change.Add, store.Allowed{Expression: src, Comment: comment, Until: until})
			}
			return changeAllowlist(cmd, flags, args[0], &change)
		},
	}
	cmd.Flags().StringArrayVar(&expressions, "expression", nil, "a condition over Alert; several may be given")
	cmd.Flags().StringVarP(&comment, "comment", "m", "", "why they are on it")
	cmd.Flags().StringVarP(&expire, "expire", "e", "", "how long they stay on it, such as 7d; for good when empty")
	cmd.Flags().StringVar(&description, "description", "", "what the list is for")
	return cmd
}

// changeAllowlist has the server change a list, and says what came of it.
func changeAllowlist(cmd *cobra.Command, flags *apiFlags, name string, change *store.AllowlistChange) error {
	return flags.with(cmd.Context(), func(c *localapi.Client) error {
		var l localapi.ChangedAllowlist
		if err := c.Do(cmd.Context(), http.MethodPatch, "/allowlists/"+url.PathEscape(name), change, &l); err != nil {
			return err
		}
		return flags.said(cmd, fmt.Sprintf("%s: %d items, %d decisions withdrawn", l.Name, l.Items, l.Withdrawn),
			[]string{"name", "items", "withdrawn"}, []string{l.Name, strconv.Itoa(l.Items), strconv.Itoa(l.Withdrawn)}, l)
	})
}

func allowlistRemove(flags *apiFlags) *cobra.Command {
	return &cobra.Command{
		Use: "remove NAME VALUE...", Short: "Take addresses, ranges and expressions off an allow-list", Args: cobra.MinimumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return changeAllowlist(cmd, flags, args[0], &store.AllowlistChange{Remove: args[1:]})
		},
	}
}
