// Command sluice detects attacks in streams of logs with CrowdSec's rules.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	// The sources and sinks that a configuration may name.
	_ "sluice/sinks/email"
	_ "sluice/sinks/exec"
	_ "sluice/sinks/file"
	_ "sluice/sinks/kafka"
	_ "sluice/sinks/lapi"
	_ "sluice/sinks/localapi"
	_ "sluice/sinks/mqtt"
	_ "sluice/sinks/nats"
	_ "sluice/sinks/s3"
	_ "sluice/sinks/syslog"
	_ "sluice/sinks/webhook"
	_ "sluice/sources/amqp"
	_ "sluice/sources/cloudtrail"
	_ "sluice/sources/cloudwatch"
	_ "sluice/sources/docker"
	_ "sluice/sources/file"
	_ "sluice/sources/http"
	_ "sluice/sources/journald"
	_ "sluice/sources/kafka"
	_ "sluice/sources/kinesis"
	_ "sluice/sources/kubernetesaudit"
	_ "sluice/sources/loki"
	_ "sluice/sources/mqtt"
	_ "sluice/sources/nats"
	_ "sluice/sources/redis"
	_ "sluice/sources/s3"
	_ "sluice/sources/syslog"
	_ "sluice/sources/victorialogs"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := execute(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// usageError is a mistake in the command line: exit code 2.
type usageError struct{ error }

// errFailed ends a command with exit code 1 that has already said why.
var errFailed = errors.New("failed")

// execute runs the command line and returns the exit code: 0, 1 for a
// failure, 2 for wrong usage.
func execute(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	root := newRoot()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	cmd, err := root.ExecuteContextC(ctx)
	var usage usageError
	switch {
	case err == nil:
		return 0
	case errors.Is(err, errFailed):
		return 1
	case errors.As(err, &usage):
		fmt.Fprintf(stderr, "sluice: %v\nTry '%s --help'.\n", err, cmd.CommandPath())
		return 2
	}
	fmt.Fprintf(stderr, "sluice: %v\n", err)
	return 1
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "sluice",
		Short: "Detect attacks in streams of logs with CrowdSec's rules",
		Long: "Sluice reads logs from Kafka, MQTT, AWS, syslog, files and more, runs the\n" +
			"CrowdSec hub's parsers and scenarios on them unmodified, and emits alerts and decisions.",
		SilenceErrors: true,
		SilenceUsage:  true,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usageError{unknownCommand(cmd, args[0])}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetFlagErrorFunc(flagError)
	root.CompletionOptions.HiddenDefaultCmd = true
	root.AddCommand(runCommand(), replayCommand(), testCommand(), explainCommand(), checkCommand(), reloadCommand(), stateCommand(), sourcesCommand(), sinksCommand(),
		decisionsCommand(), alertsCommand(), allowlistCommand(), blocklistsCommand(), bouncersCommand(), machinesCommand(), healthCommand(), versionCommand())
	asUsageErrors(root)
	return root
}

// required is an error of usage when a flag was left empty.
func required(flag, value string) error {
	if value == "" {
		return usageError{fmt.Errorf("the flag --%s is needed", flag)}
	}
	return nil
}
