package sinks_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sluice/pipeline"
	"sluice/pipeline/component"
	"sluice/sinks"
	_ "sluice/sinks/file"
	_ "sluice/sinks/kafka"
)

// shoutConfig and shout are a whole sink, as one file of a new folder would hold it.
type shoutConfig struct {
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

func TestEveryKindIsDocumentedByAnExampleThatWorks(t *testing.T) {
	for _, k := range sinks.Kinds() {
		node, err := component.Parse([]byte("type: " + k.Type + "\n" + k.Example))
		if err != nil {
			t.Fatalf("%s: %v", k.Type, err)
		}
		s, err := sinks.New(node, sinks.Env{Stdout: io.Discard})
		if err != nil {
			t.Errorf("%s: %v", k.Type, err)
			continue
		}
		if k.Summary == "" || k.Description == "" || !strings.HasSuffix(k.Summary, ".") || s.Name() != k.Type {
			t.Errorf("%s: summary, description or default name is missing", k.Type)
		}
		if err := s.Close(); err != nil {
			t.Errorf("%s: %v", k.Type, err)
		}
		if _, err := os.Stat(filepath.Join(".", "alerts.jsonl")); err == nil {
			t.Errorf("%s: making a sink writes nothing", k.Type)
		}
	}
}

func TestEveryPlaceForDeadLettersIsDocumentedByAnExampleThatWorks(t *testing.T) {
	kinds := sinks.DeadLettersKinds()
	if len(kinds) < 2 {
		t.Errorf("only %d kinds are known", len(kinds))
	}
	for _, k := range kinds {
		node, err := component.Parse([]byte(k.Example))
		if err != nil {
			t.Fatalf("%s: %v", k.Type, err)
		}
		d, err := sinks.NewDeadLetters(k.Type, node, sinks.Env{})
		if err != nil {
			t.Errorf("%s: %v", k.Type, err)
			continue
		}
		if k.Summary == "" || k.Description == "" || !strings.HasSuffix(k.Summary, ".") {
			t.Errorf("%s: summary or description is missing", k.Type)
		}
		if err := d.Close(); err != nil {
			t.Errorf("%s: %v", k.Type, err)
		}
		if _, err := os.Stat(filepath.Join(".", "dead.jsonl")); err == nil {
			t.Errorf("%s: making it writes nothing", k.Type)
		}
	}
	if _, err := sinks.NewDeadLetters("nowhere", nil, sinks.Env{}); err == nil || !strings.Contains(err.Error(), "known are file, kafka") {
		t.Errorf("an unknown place: %v", err)
	}
}

func TestOnlyARefusalIsNotTriedAgain(t *testing.T) {
	full := errors.New("disk full")
	refused := fmt.Errorf("sink x: %w", &sinks.RejectedError{Alerts: []int{1}, Reason: full})
	if sinks.Retryable(nil) || sinks.Retryable(refused) || !sinks.Retryable(full) || !errors.Is(refused, full) {
		t.Error("Retryable is true for any error but a refusal")
	}
}
