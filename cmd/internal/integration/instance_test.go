//go:build integration

package integration

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/goccy/go-yaml"

	"sluice/cmd/internal/integration/kafkatest"
	"sluice/cmd/internal/integration/process"
)

// setup is a pipeline as a test wants it; its fields become the keys of a
// configuration file.
type setup struct {
	broker        *broker
	topic, alerts string
	partitions    int
	group         string
	rules         map[string]any
	pipeline      map[string]any // beside the defaults
	state         map[string]any
	source        map[string]any
	// durable gives every instance a folder for its state.
	durable bool
}

// newSetup returns a setup of the rules with topics, and a group, that no other test uses.
func (b *broker) newSetup(t testing.TB, partitions int, rules map[string]any) *setup {
	t.Helper()
	s := &setup{broker: b, partitions: partitions, rules: rules, topic: fmt.Sprintf("logs-%d", time.Now().UnixNano())}
	s.group, s.alerts = s.topic, s.topic+"-alerts"
	s.createTopic(t, s.topic, partitions, nil)
	s.createTopic(t, s.alerts, 1, byArrival)
	return s
}

// byArrival has records carry the time at which the broker took them.
var byArrival = map[string]string{"message.timestamp.type": "LogAppendTime"}

func (s *setup) createTopic(t testing.TB, topic string, partitions int, settings map[string]string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := s.broker.admin.CreateTopic(ctx, topic, partitions, settings); err != nil {
		t.Fatal(err)
	}
}

// produce writes records to the topic and fails the test when that fails.
func (s *setup) produce(ctx context.Context, t testing.TB, records []record, rate int) {
	t.Helper()
	if err := s.broker.produce(ctx, s.topic, records, rate); err != nil {
		t.Fatal(err)
	}
}

// starter are the rules that come with Sluice, all of them grouped by address.
func starter() map[string]any {
	return map[string]any{
		"roots":       []string{filepath.Join(parts.root, "configs", "rules")},
		"collections": []string{"sluice/linux", "sluice/web"},
		"strict":      true,
	}
}

// instance is one sluice with a folder of its own.
type instance struct {
	name    string
	dir     string
	process *process.Process
	starts  int
	// ending is set before the process is told to end, so that an end of its
	// own making is told apart.
	ending atomic.Bool
}

// newInstance writes an instance's configuration. share is its ordinal and the
// count of instances that share the partitions; 0 of 0 reads all.
func (s *setup) newInstance(t testing.TB, name string, ordinal, count int) *instance {
	t.Helper()
	in := &instance{name: name, dir: filepath.Join(t.TempDir(), name)}
	if err := os.MkdirAll(in.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	brokers := s.broker.Brokers()
	source := map[string]any{
		"type": "kafka", "brokers": brokers, "topics": []string{s.topic}, "group": s.group,
		"max_wait": "100ms", "backoff_max": "500ms",
		"decode": map[string]any{"labels_from": map[string]any{"type": "header:type"}},
	}
	if count > 0 {
		source["share"] = map[string]any{"ordinal": ordinal, "count": count}
	}
	maps.Copy(source, s.source)
	config := map[string]any{
		"name": name, "rules": s.rules, "sources": []any{source},
		"sinks": []any{map[string]any{"type": "kafka", "brokers": brokers, "alerts_topic": s.alerts, "alert_key": "uuid"}},
	}
	if len(s.pipeline) > 0 {
		config["pipeline"] = s.pipeline
	}
	if s.durable {
		state := map[string]any{"dir": in.state(), "interval": "200ms"}
		maps.Copy(state, s.state)
		config["state"] = state
	}
	text, err := yaml.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(in.config(), text, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if in.process != nil {
			_ = in.process.Kill() // it has ended, or ends now
		}
		if t.Failed() {
			t.Logf("%s\n%s", in.name, in.tail(40))
		}
	})
	return in
}

func (in *instance) config() string { return filepath.Join(in.dir, "sluice.yaml") }
func (in *instance) state() string  { return filepath.Join(in.dir, "state") }
func (in *instance) log() string    { return filepath.Join(in.dir, "log") }

// start runs sluice; its log goes to a file.
func (in *instance) start() error {
	log, err := os.OpenFile(in.log(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	in.starts++
	fmt.Fprintf(log, "=== start %d\n", in.starts)
	cmd := exec.Command(parts.binary, "run", "-c", in.config())
	cmd.Stdout, cmd.Stderr = log, log
	in.ending.Store(false)
	in.process, err = process.Start(cmd)
	return err
}

// stop ends it in good order.
func (in *instance) stop() error {
	in.ending.Store(true)
	if err := in.process.Stop(); err != nil {
		return fmt.Errorf("%s did not end well: %w\n%s", in.name, err, in.tail(20))
	}
	return nil
}

// ended returns an error when the instance has ended of its own accord.
func (in *instance) ended() error {
	select {
	case <-in.process.Done():
		if !in.ending.Load() {
			return fmt.Errorf("%s ended by itself: %v\n%s", in.name, in.process.Wait(), in.tail(20))
		}
	default:
	}
	return nil
}

// output returns all that the instance logged.
func (in *instance) output() string {
	text, err := os.ReadFile(in.log())
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// lastRun returns what the instance logged since it was started last.
func (in *instance) lastRun() string {
	all := in.output()
	return all[max(0, strings.LastIndex(all, "=== start")):]
}

// tail returns the last lines of its log.
func (in *instance) tail(n int) string {
	lines := bytes.Split(bytes.TrimSpace([]byte(in.output())), []byte("\n"))
	return string(bytes.Join(lines[max(0, len(lines)-n):], []byte("\n")))
}

// sluice runs another command of the binary and returns its standard output.
func sluice(ctx context.Context, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, parts.binary, args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("sluice %v: %w\n%s", args, err, errs.Bytes())
	}
	return out.Bytes(), nil
}

// poll calls done every 50 ms until it holds, fails, or ctx ends.
func poll(ctx context.Context, what string, done func() (bool, error)) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		ok, err := done()
		if err != nil || ok {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s: %w", what, ctx.Err())
		}
	}
}

// loaded waits until an instance has taken up its state, if it has any: only
// then can it be told to end in good order.
func (s *setup) loaded(ctx context.Context, in *instance) error {
	if !s.durable {
		return nil
	}
	return poll(ctx, in.name+" to load its state", func() (bool, error) {
		return strings.Contains(in.lastRun(), "the state is loaded"), in.ended()
	})
}

// caughtUp waits until the group has committed the end of every partition:
// with durable state, that is when the state of all records is on disk.
func (s *setup) caughtUp(ctx context.Context, instances []*instance) error {
	for _, in := range instances {
		if err := s.loaded(ctx, in); err != nil {
			return err
		}
	}
	ends, err := s.broker.admin.Offsets(ctx, s.topic, s.partitions, kafkatest.Latest)
	if err != nil {
		return err
	}
	var at map[int32]int64
	err = poll(ctx, "the group to commit all", func() (bool, error) {
		for _, in := range instances {
			if err := in.ended(); err != nil {
				return false, err
			}
		}
		var err error
		if at, err = s.broker.admin.Committed(ctx, s.group, s.topic, s.partitions); err != nil {
			return false, nil // a coordinator that moves is asked again
		}
		return maps.Equal(at, ends), nil
	})
	if err != nil {
		return errors.Join(err, fmt.Errorf("the group has committed %v of %v", at, ends))
	}
	return nil
}

// pause waits, as those do who disturb others at times of their choosing.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// startAll makes and starts instances that share the partitions.
func (s *setup) startAll(t testing.TB, n int) []*instance {
	t.Helper()
	var all []*instance
	for i := range n {
		in := s.newInstance(t, fmt.Sprintf("instance-%d", i), i, n)
		if err := in.start(); err != nil {
			t.Fatal(err)
		}
		all = append(all, in)
	}
	return all
}

// finish lets the instances come to the end of the topic and collects what they left.
func (s *setup) finish(ctx context.Context, t testing.TB, instances []*instance) *result {
	t.Helper()
	if err := s.caughtUp(ctx, instances); err != nil {
		t.Fatal(err)
	}
	r, err := s.collect(ctx, instances)
	if err != nil {
		t.Fatal(err)
	}
	return r
}
