package app

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kfake"

	_ "sluice/sinks/file"
	_ "sluice/sources/kafka"
)

// broker starts a broker with topics of two partitions.
func broker(t *testing.T, topics ...string) string {
	t.Helper()
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(2, topics...))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c.ListenAddrs()[0]
}

// guess writes six failed log-ins of one address to a topic.
func guess(t *testing.T, address, topic, ip string) {
	t.Helper()
	transport := &kafka.Transport{}
	defer transport.CloseIdleConnections()
	w := &kafka.Writer{
		Addr: kafka.TCP(address), Topic: topic, Transport: transport,
		RequiredAcks: kafka.RequireAll, BatchTimeout: time.Millisecond, Balancer: &kafka.Hash{},
	}
	defer w.Close()
	for i := range 6 {
		line := fmt.Sprintf("2024-03-03T10:00:0%d+00:00 gate sshd[7]: Failed password for root from %s port 4000 ssh2", i, ip)
		if err := w.WriteMessages(t.Context(), kafka.Message{Key: []byte(ip), Value: []byte(line)}); err != nil {
			t.Fatal(err)
		}
	}
}

// untilLines ends a run once so many lines of alerts were written.
type untilLines struct {
	mu   sync.Mutex
	text bytes.Buffer
	left int
	stop context.CancelFunc
}

// Write implements io.Writer.
func (u *untilLines) Write(p []byte) (int, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.text.Write(p)
	if u.left -= bytes.Count(p, []byte("\n")); u.left <= 0 {
		u.stop()
	}
	return len(p), nil
}

// load reads a configuration.
func load(t *testing.T, text string) *Config {
	t.Helper()
	path := filepath.Join(t.TempDir(), "topics.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// onTopics is a pipeline that reads topics; more are further sources.
func onTopics(t *testing.T, address, topics, more string) *Config {
	t.Helper()
	rules, err := filepath.Abs(filepath.FromSlash("../../../configs/rules"))
	if err != nil {
		t.Fatal(err)
	}
	return load(t, fmt.Sprintf(`
rules: {roots: [%q], collections: [sluice/linux], strict: true}
sources:
  - type: kafka
    brokers: [%q]
    topics: [%s]
    group: detection
    max_wait: 20ms
    decode: {type: syslog}
%s
sinks:
  - type: stdout
    format: text
`, rules, address, topics, more))
}

// runFor runs a pipeline until it has written so many alerts, and returns them.
func runFor(t *testing.T, c *Config, alerts int) (string, error) {
	t.Helper()
	return runUnder(t.Context(), t, c, alerts)
}

// runFed does the same while feed sends what there is to find. Where that fails, the
// run is not waited for: what it waits for will not come.
func runFed(t *testing.T, c *Config, alerts int, feed func(context.Context) error) string {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	fed := make(chan error, 1)
	go func() {
		err := feed(t.Context())
		if err != nil {
			cancel()
		}
		fed <- err
	}()
	out, err := runUnder(ctx, t, c, alerts)
	if err != nil && !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if err := <-fed; err != nil {
		t.Fatal(err)
	}
	return out
}

func runUnder(ctx context.Context, t *testing.T, c *Config, alerts int) (string, error) {
	t.Helper()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	out := &untilLines{left: alerts, stop: cancel}
	p, err := New(c, Env{Log: slog.New(slog.DiscardHandler), Stdout: out})
	if err != nil {
		t.Fatal(err)
	}
	err = p.Run(ctx)
	if cerr := p.Close(); cerr != nil {
		t.Error(cerr)
	}
	return out.text.String(), err
}

func TestAnEmptyTopicHoldsNothingUp(t *testing.T) {
	address := broker(t, "empty", "logs")
	guess(t, address, "logs", "192.0.2.10")
	got, err := runFor(t, onTopics(t, address, "empty, logs", ""), 1)
	if err != nil || !strings.Contains(got, "sluice/ssh-bf  Ip 192.0.2.10") {
		t.Errorf("got %q, %v; want the alert of the other topic", got, err)
	}
}

func TestATopicThatDoesNotExistIsNamed(t *testing.T) {
	address := broker(t, "logs")
	guess(t, address, "logs", "192.0.2.10")
	_, err := runFor(t, onTopics(t, address, "lost, logs", ""), 1)
	if err == nil || !strings.Contains(err.Error(), `topic "lost" does not exist`) || !strings.Contains(err.Error(), "missing_topic: wait") {
		t.Errorf("error %v; want one that names the topic and what to do", err)
	}
}

// A source waits for all of its topics before it begins, so the one that may
// be missing is a source of its own.
func TestASourceThatWaitsForItsTopicHoldsNoOtherUp(t *testing.T) {
	address := broker(t, "logs")
	guess(t, address, "logs", "192.0.2.10")
	waiting := fmt.Sprintf("  - {type: kafka, name: waiting, brokers: [%q], topics: [lost], missing_topic: wait}", address)
	got, err := runFor(t, onTopics(t, address, "logs", waiting), 1)
	if err != nil || !strings.Contains(got, "sluice/ssh-bf  Ip 192.0.2.10") {
		t.Errorf("got %q, %v; want the alert of the other topic", got, err)
	}
}

func TestARunBeginsWhereTheOneBeforeHasCommitted(t *testing.T) {
	address := broker(t, "logs")
	guess(t, address, "logs", "192.0.2.10")
	if got, err := runFor(t, onTopics(t, address, "logs", ""), 1); err != nil || !strings.Contains(got, "192.0.2.10") {
		t.Fatalf("got %q, %v; want an alert", got, err)
	}
	guess(t, address, "logs", "192.0.2.11")
	got, err := runFor(t, onTopics(t, address, "logs", ""), 1)
	if err != nil || !strings.Contains(got, "192.0.2.11") || strings.Contains(got, "192.0.2.10") {
		t.Errorf("got %q, %v; want the alert of what came since", got, err)
	}
}

func TestARunThatIsOutOfTimeEndsWithoutAnError(t *testing.T) {
	address := broker(t, "logs")
	ctx, cancel := context.WithDeadline(t.Context(), time.Unix(0, 0))
	defer cancel()
	p, err := New(onTopics(t, address, "logs", ""), Env{Log: slog.New(slog.DiscardHandler), Stdout: io.Discard})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(p.Run(ctx), p.Close()); err != nil {
		t.Errorf("the run ends with %v", err)
	}
}

// TestAStateThatKnowsNothingOfAPartitionIsNotPassedOver: the group has read
// two partitions, the state that is there knows one of them.
func TestAStateThatKnowsNothingOfAPartitionIsNotPassedOver(t *testing.T) {
	address := broker(t, "logs")
	var has [2]int     // alerts by partition; all are found, so that none comes later
	for i := range 4 { // some addresses for each
		ip := fmt.Sprintf("192.0.2.%d", 10+i)
		guess(t, address, "logs", ip)
		has[new(kafka.Hash).Balance(kafka.Message{Key: []byte(ip)}, 0, 1)]++
	}
	dir := t.TempDir()
	config := func(partitions, folder, missing string) *Config {
		c := onTopics(t, address, "logs]\n    partitions: ["+partitions, "")
		c.State.Dir, c.State.Missing = filepath.Join(dir, folder), missing
		return c
	}
	if _, err := runFor(t, config("0", "one", "wait"), has[0]); err != nil {
		t.Fatal(err)
	}
	if _, err := runFor(t, config("1", "two", "wait"), has[1]); err != nil {
		t.Fatal(err)
	}
	_, err := runFor(t, config("0, 1", "one", "wait"), 1)
	if err == nil || !strings.Contains(err.Error(), "has read records of kafka/logs/1, and the state") || !strings.Contains(err.Error(), "state.missing to fresh") {
		t.Errorf("error %v; want one that names the partition and what to do", err)
	}
	guess(t, address, "logs", "192.0.2.20")
	guess(t, address, "logs", "192.0.2.21")
	if got, err := runFor(t, config("0, 1", "one", "fresh"), 1); err != nil || !strings.Contains(got, "192.0.2.2") {
		t.Errorf("got %q, %v; want an alert of what came since", got, err)
	}
}
