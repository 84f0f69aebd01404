package sourcetest_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"go.uber.org/goleak"

	"sluice/pipeline"
	"sluice/sources"
	"sluice/sources/sourcetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// source emits a record of each value, and ends as it is told to.
type source struct {
	sources.Source
	env    sources.Env
	values []string
	end    error // nil waits for the context
}

func (s *source) Run(ctx context.Context, from sources.Positions, out sources.Emit) error {
	part := pipeline.Partition{Source: "s", Topic: "t"}
	for i := int(from[part]); i < len(s.values); i++ {
		s.env.Log.Info("one more")
		if err := out(ctx, &pipeline.RecordBatch{Partition: part, Labels: map[string]string{"a": "b"}, Records: []pipeline.Record{
			{Value: []byte(s.values[i]), Offset: int64(i), Time: s.env.Clock.Now()},
		}}); err != nil {
			return err
		}
	}
	if s.end != nil {
		return s.end
	}
	<-ctx.Done()
	return ctx.Err()
}

func (s *source) Close() error { return nil }

func TestWhatASourceEmits(t *testing.T) {
	clock := sourcetest.NewClock()
	env, log := sourcetest.Env(clock, "")
	s := &source{env: env, values: []string{"a", "b"}}
	r := sourcetest.Start(t, s, log, nil)
	r.Expect("t/0:a,b")
	if last := r.Last("t/0"); last.Labels["a"] != "b" || !last.Time.Equal(clock.Now()) || log.Said("one more") != 2 {
		t.Errorf("%+v\n%s", last, log)
	}
	next := r.Stop()
	s.values = append(s.values, "c")
	s.end = errors.New("no more")
	r = sourcetest.Start(t, s, log, next)
	r.Fails("no more")
	r.Expect("t/0:c")
}

func TestAClockStandsUntilItIsMoved(t *testing.T) {
	c := sourcetest.NewClock()
	before := c.Now()
	<-c.After(time.Hour)
	if !c.Now().Equal(before) {
		t.Error("it moved by itself")
	}
	c.Move(time.Hour)
	if !c.Now().Equal(before.Add(time.Hour)) {
		t.Error("it did not move")
	}
}
