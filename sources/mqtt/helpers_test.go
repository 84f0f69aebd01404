package mqtt

import (
	"fmt"
	"testing"
	"time"

	"sluice/sources"
	"sluice/sources/intake"
	"sluice/sources/sourcetest"
)

// reading is a source that runs, and what it emitted.
type reading struct {
	*sourcetest.Reading
	source *Source
}

// config returns one for a broker with short waits.
func config(broker string, change ...func(*Config)) Config {
	c := Default()
	c.Brokers, c.ClientID = []string{broker}, "test"
	c.Subscriptions = []Subscription{{Filter: "logs/#", QoS: 1}}
	c.BackoffMin, c.BackoffMax = time.Millisecond, 20*time.Millisecond
	c.Intake, c.Ack = intake.Direct, intake.AckAccepted
	for _, f := range change {
		f(&c)
	}
	return c
}

// read starts a source with the state in dir, and stops it with the test.
func read(t *testing.T, c Config, dir string, gate chan struct{}) *reading {
	t.Helper()
	return readFrom(t, c, dir, gate, nil)
}

// again starts a source of the same configuration where this one's checkpoint
// would stand: behind all that it emitted.
func (r *reading) again(t *testing.T, c Config, dir string) *reading {
	t.Helper()
	r.Stop(t)
	return readFrom(t, c, dir, nil, sources.Positions{{Source: "mqtt"}: r.Next.Load()})
}

func readFrom(t *testing.T, c Config, dir string, gate chan struct{}, from sources.Positions) *reading {
	t.Helper()
	env, log := sourcetest.Env(nil, dir)
	source, err := New("mqtt", c, env)
	if err != nil {
		t.Fatal(err)
	}
	source.farewell = 50 * time.Millisecond // most scripted brokers never close
	return &reading{sourcetest.Read(t, source, log, from, gate), source}
}

// none fails the test when a line is there.
func (r *reading) none(t *testing.T) {
	t.Helper()
	select {
	case l := <-r.Lines:
		t.Errorf("%q came", l.Text)
	default:
	}
}

// until waits for a condition.
func until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for limit := time.Now().Add(20 * time.Second); !holds(); {
		if time.Now().After(limit) {
			t.Fatalf("waiting for %s", what)
		}
		<-time.After(time.Millisecond)
	}
}

func texts(format string, n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprintf(format, i)
	}
	return out
}

// journaled has the source keep a journal.
func journaled(c *Config) { c.Intake = intake.Journal }
