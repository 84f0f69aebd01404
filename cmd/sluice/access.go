package main

import (
	"cmp"
	"fmt"
	"net/http"
	"net/url"

	"github.com/spf13/cobra"

	"sluice/cmd/internal/table"
	"sluice/sinks/localapi"
	"sluice/sinks/localapi/store"
)

func bouncersCommand() *cobra.Command {
	var flags apiFlags
	var key string
	list := &cobra.Command{
		Use: "list", Short: "List the bouncers that may ask for decisions", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return flags.with(cmd.Context(), func(c *localapi.Client) error {
				var found []store.Bouncer
				if err := c.Do(cmd.Context(), http.MethodGet, "/bouncers", nil, &found); err != nil {
					return err
				}
				rows := make([][]string, len(found))
				for i := range found {
					b := &found[i]
					found[i].KeyHash = "" // nobody needs to see it
					rows[i] = []string{
						b.Name, b.Address, cmp.Or(b.Kind, b.Reported.Type), cmp.Or(b.Version, b.Reported.Version), ago(b.LastPull), b.Reported.OS, ago(b.Reported.At),
					}
				}
				header := []string{"name", "address", "kind", "version", "last pull", "os", "last report"}
				return table.Write(cmd.OutOrStdout(), flags.output, header, rows, found)
			})
		},
	}
	add := &cobra.Command{
		Use: "add NAME", Short: "Let a bouncer ask for decisions; its key is shown once", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return flags.with(cmd.Context(), func(c *localapi.Client) error {
				var made localapi.NewBouncer
				if err := c.Do(cmd.Context(), http.MethodPut, "/bouncers/"+url.PathEscape(args[0]), localapi.NewBouncer{Key: key}, &made); err != nil {
					return err
				}
				return secretOnce(cmd, flags.output, args[0], "key", made.Key)
			})
		},
	}
	add.Flags().StringVarP(&key, "key", "k", "", "the key; a random one when empty")
	rotate := &cobra.Command{
		Use: "rotate NAME", Short: "Give a bouncer a new key; the old one is worth nothing from then on", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return flags.with(cmd.Context(), func(c *localapi.Client) error {
				var made localapi.NewBouncer
				if err := c.Do(cmd.Context(), http.MethodPost, "/bouncers/"+url.PathEscape(args[0])+"/rotate", nil, &made); err != nil {
					return err
				}
				return secretOnce(cmd, flags.output, args[0], "key", made.Key)
			})
		},
	}
	return group("bouncers", "Say which bouncers may ask for decisions", &flags, list, bouncersInspect(&flags), add, rotate,
		change(&flags, "delete", "Forget a bouncer", http.MethodDelete, "/bouncers/%s"))
}

// secretOnce shows a secret that nobody can learn later.
func secretOnce(cmd *cobra.Command, output, name, what, secret string) error {
	return table.Write(cmd.OutOrStdout(), output, []string{"name", what}, [][]string{{name, secret}}, map[string]string{"name": name, what: secret})
}

// change makes a command that names one thing and shows nothing but that it was done.
func change(flags *apiFlags, use, short, method, path string) *cobra.Command {
	return &cobra.Command{
		Use: use + " NAME", Short: short, Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return flags.with(cmd.Context(), func(c *localapi.Client) error {
				if err := c.Do(cmd.Context(), method, fmt.Sprintf(path, url.PathEscape(args[0])), nil, nil); err != nil {
					return err
				}
				return flags.said(cmd, args[0]+": done", []string{"name", "done"}, []string{args[0], use}, map[string]string{"name": args[0], "done": use})
			})
		},
	}
}

// status tells whether a machine may sign in.
func status(m *store.Machine) string {
	if m.Valid {
		return "valid"
	}
	return "waits for validation"
}

func machinesCommand() *cobra.Command {
	var flags apiFlags
	var password string
	list := &cobra.Command{
		Use: "list", Short: "List the machines that may push alerts and manage decisions", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return flags.with(cmd.Context(), func(c *localapi.Client) error {
				var found []store.Machine
				if err := c.Do(cmd.Context(), http.MethodGet, "/machines", nil, &found); err != nil {
					return err
				}
				rows := make([][]string, len(found))
				for i := range found {
					m := &found[i]
					found[i].PasswordHash = "" // nobody needs to see it
					rows[i] = []string{
						m.Name, m.Address, cmp.Or(m.Version, m.Reported.Version), status(m), ago(m.LastBeat), ago(m.LastPush), m.Reported.OS, ago(m.Reported.At),
					}
				}
				header := []string{"name", "address", "version", "status", "last heartbeat", "last push", "os", "last report"}
				return table.Write(cmd.OutOrStdout(), flags.output, header, rows, found)
			})
		},
	}
	add := &cobra.Command{
		Use: "add NAME", Short: "Let a machine sign in; its password is shown once", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return flags.with(cmd.Context(), func(c *localapi.Client) error {
				var made localapi.NewMachine
				if err := c.Do(cmd.Context(), http.MethodPut, "/machines/"+url.PathEscape(args[0]), localapi.NewMachine{Password: password}, &made); err != nil {
					return err
				}
				return secretOnce(cmd, flags.output, args[0], "password", made.Password)
			})
		},
	}
	add.Flags().StringVarP(&password, "password", "p", "", "the password; a random one when empty")
	return group("machines", "Say which machines may push alerts and manage decisions", &flags, list, machinesInspect(&flags), add,
		change(&flags, "validate", "Let a machine sign in that registered itself", http.MethodPost, "/machines/%s/validate"),
		change(&flags, "delete", "Forget a machine: its tokens are worth nothing from then on", http.MethodDelete, "/machines/%s"))
}
