package sinks_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"sluice/pipeline"
	"sluice/pipeline/component"
	"sluice/sinks"
)

// shoutConfig and shout are a whole sink, as one file of a new folder would hold it.
type shoutConfig struct {
	// Suffix is written behind each.
	Suffix string `yaml:"suffix"`
}

type shout struct {
	name   string
	config shoutConfig
	out    io.Writer
	stats  sinks.Stats
}

func (s *shout) Name() string       { return s.name }
func (s *shout) Stats() sinks.Stats { return s.stats }
func (s *shout) Close() error       { return nil }

func (s *shout) Alerts(_ context.Context, alerts []pipeline.Alert) error {
	for i := range alerts {
		if _, err := fmt.Fprintln(s.out, strings.ToUpper(alerts[i].Scenario)+s.config.Suffix); err != nil {
			return err
		}
		s.stats.Alerts++
	}
	return nil
}

// A kind registers itself in an init; the program imports its folder.
func init() {
	sinks.Register(sinks.Kind[shoutConfig]{
		Type: "shout", Summary: "Loud scenarios.", Description: "For the example.", Example: "suffix: '!!'\n",
		Default: func() shoutConfig { return shoutConfig{Suffix: "!"} },
		New: func(name string, c shoutConfig, env sinks.Env) (sinks.Sink, error) {
			return &shout{name: name, config: c, out: env.Stdout}, nil
		},
	})
}

func Example() {
	entry, err := component.Parse([]byte("type: shout\n"))
	if err != nil {
		fmt.Println(err)
		return
	}
	sink, err := sinks.New(entry, sinks.Env{Stdout: os.Stdout})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(sink.Alerts(context.Background(), []pipeline.Alert{{Scenario: "sluice/ssh-bf"}}))
	// Output:
	// SLUICE/SSH-BF!
	// <nil>
}

func TestOnlyARefusalIsNotTriedAgain(t *testing.T) {
	full := errors.New("disk full")
	refused := fmt.Errorf("sink x: %w", &sinks.RejectedError{Alerts: []int{1}, Reason: full})
	if sinks.Retryable(nil) || sinks.Retryable(refused) || !sinks.Retryable(full) || !errors.Is(refused, full) {
		t.Error("Retryable is true for any error but a refusal")
	}
}
