package kinesis

import (
	"context"
	"testing"
	"time"

	"go.uber.org/goleak"

	"sluice/sources"
	"sluice/sources/sourcetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// run is a source that reads from a fake stream.
type run struct {
	*sourcetest.Run
	source *Source
}

// start runs a source on a fake, with its journal in dir, behind positions.
func start(t *testing.T, f *fakeStream, dir string, from sources.Positions, edit func(*Config)) *run {
	t.Helper()
	c := Default()
	c.Stream, c.Region = "logs", "eu-west-1"
	c.BackoffMin, c.BackoffMax = time.Millisecond, time.Millisecond
	if edit != nil {
		edit(&c)
	}
	env, log := sourcetest.Env(f.clock, dir)
	s, err := New("kinesis", c, env)
	if err != nil {
		t.Fatal(err)
	}
	s.connect = func(context.Context) (client, func(), error) { return f, func() {}, nil }
	return &run{sourcetest.Start(t, s, log, from), s}
}
