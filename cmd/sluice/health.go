package main

import (
	"fmt"
	"net/http"
	"time"

	"github.com/spf13/cobra"
)

func healthCommand() *cobra.Command {
	var url string
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "health",
		Short: "Ask a running sluice with a sink of type local_api whether it answers",
		Long: "Asks a running sluice with a sink of type local_api whether it answers: exit code 0 when it does, 1 when it does not.\n" +
			"It is for the health checks of containers, whose image has no other program. Where the sink has tls, --url begins with\n" +
			"https://, and the variable SSL_CERT_FILE names the authority that its certificate is checked by, when it is one of your own.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			req, err := http.NewRequestWithContext(cmd.Context(), http.MethodGet, url, nil)
			if err != nil {
				return usageError{err}
			}
			res, err := (&http.Client{Timeout: timeout}).Do(req)
			if err != nil {
				return err
			}
			defer res.Body.Close()
			if res.StatusCode/100 != 2 {
				return fmt.Errorf("%s answers %s", url, res.Status)
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&url, "url", "http://127.0.0.1:8080/health", "what is asked")
	cmd.Flags().DurationVar(&timeout, "timeout", 3*time.Second, "how long the answer may take")
	return cmd
}
