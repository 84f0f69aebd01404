//go:build integration

package integration

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sluice/cmd/internal/integration/kafkatest"
	"sluice/cmd/internal/integration/rig"
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
type instance struct{ *rig.Program }

// newInstance writes an instance's configuration. share is its ordinal and the
// count of instances that share the partitions; 0 of 0 reads all.
func (s *setup) newInstance(t testing.TB, name string, ordinal, count int) *instance {
	t.Helper()
	p, err := rig.NewProgram(name, filepath.Join(t.TempDir(), name), parts.binary)
	if err != nil {
		t.Fatal(err)
	}
	in := &instance{p}
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
		state := map[string]any{"dir": in.State(), "interval": "200ms"}
		maps.Copy(state, s.state)
		config["state"] = state
	}
	if err := in.Configure(config); err != nil {
		t.Fatal(err)
	}
	rig.EndWith(t, p)
	return in
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

// loaded waits until an instance has taken up its state, if it has any: only
// then can it be told to end in good order.
func (s *setup) loaded(ctx context.Context, in *instance) error {
	if !s.durable {
		return nil
	}
	return rig.Poll(ctx, in.Name+" to load its state", func() (bool, error) {
		return strings.Contains(in.LastRun(), "the state is loaded"), in.Ended()
	})
}

// stop ends an instance in good order, once it has taken up its state: before,
// the signal may come to a process that does not listen for it yet.
func (s *setup) stop(ctx context.Context, in *instance) error {
	if err := s.loaded(ctx, in); err != nil {
		return err
	}
	return in.Stop()
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
	err = rig.Poll(ctx, "the group to commit all", func() (bool, error) {
		for _, in := range instances {
			if err := in.Ended(); err != nil {
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

// startAll makes and starts instances that share the partitions.
func (s *setup) startAll(t testing.TB, n int) []*instance {
	t.Helper()
	var all []*instance
	for i := range n {
		in := s.newInstance(t, fmt.Sprintf("instance-%d", i), i, n)
		if err := in.Start(); err != nil {
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
