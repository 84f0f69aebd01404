package amqp

import (
	"context"
	"errors"
	"testing"
	"time"

	"sluice/pipeline"
	"sluice/sources"
	"sluice/sources/intake"
	"sluice/sources/sourcetest"
)

// The end of a run refuses what was not put by then before the checkpoint comes
// that makes the rest safe.
func TestARefusalLeavesWhatWasPutBefore(t *testing.T) {
	refused := errors.New("the source has stopped")
	a := &acks{wake: make(chan struct{}, 1)}
	a.safe(10, nil)
	a.safe(30, refused)
	a.safe(20, nil)
	if a.tag != 20 {
		t.Errorf("safe up to %d, want 20", a.tag)
	}
	a.safe(30, nil)
	a.safe(40, nil)
	a.safe(25, refused)
	if a.tag != 20 {
		t.Errorf("safe up to %d with a refused run before it, want 20", a.tag)
	}
}

// A source that is stopped while its last run waits for the pipeline
// acknowledges the runs before it with the last checkpoint.
func TestTheLastCheckpointAcknowledgesWhatWasPutBeforeARefusal(t *testing.T) {
	f := newFake(t)
	env, log := sourcetest.Env(nil, t.TempDir())
	source, err := New("amqp", config(f.url(), func(c *Config) { c.Ack = intake.AckCheckpoint }), env)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	emitted, full := make(chan struct{}), make(chan struct{})
	done := make(chan error, 1)
	reach := func(what string, c <-chan struct{}) {
		t.Helper()
		select {
		case <-c:
		case err := <-done:
			t.Fatalf("Run gave %v before %s\n%s", err, what, log)
		case <-time.After(20 * time.Second):
			t.Fatalf("waiting for %s\n%s", what, log)
		}
	}
	go func() {
		first := true
		done <- source.Run(ctx, nil, func(ctx context.Context, _ *pipeline.RecordBatch) error {
			if first {
				first = false
				close(emitted)
				return nil
			}
			close(full)
			<-ctx.Done()
			return ctx.Err()
		})
	}()
	s := f.session()
	s.deliver(message{body: "taken"})
	reach("the first record", emitted)
	s.deliver(message{body: "refused"})
	reach("the second record", full)
	stop()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("Run: %v\n%s", err, log)
	}
	if err := source.Commit(t.Context(), sources.Positions{{Source: "amqp", Topic: "logs"}: 1}); err != nil {
		t.Fatal(err)
	}
	if err := source.Close(); err != nil {
		t.Fatal(err)
	}
	f.wantAck(1)
	f.goodbye()
}
