//go:build integration

package integration

import (
	"context"
	"strings"
	"syscall"
	"testing"
	"time"

	"sluice/cmd/internal/integration/rig"
)

// TestAGroupCountsEveryRecordOnce runs two members of a group while one is
// stopped past its session, one is killed, one leaves and comes back, and a
// third comes and goes. Partitions wait for their state, so that all alerts are
// those of an uninterrupted run.
func TestAGroupCountsEveryRecordOnce(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	const partitions, rate = 8, 400
	records := counted(rig.Seed(t), 8000, 60, partitions, false)
	s := parts.broker.newSetup(t, partitions, counting())
	s.durable = true
	s.source = map[string]any{
		"assignment": "group", "session_timeout": "2s", "rebalance_timeout": "6s", "heartbeat_interval": "200ms",
	}
	one, two := s.newInstance(t, "one", 0, 0), s.newInstance(t, "two", 0, 0)
	for _, in := range []*instance{one, two} {
		if err := in.Start(); err != nil {
			t.Fatal(err)
		}
	}
	// Both are members before there is anything to read, so that each gets a half.
	if err := rig.Poll(ctx, "both to be members", func() (bool, error) {
		return strings.Contains(one.Output()+two.Output(), "members=2"), nil
	}); err != nil {
		t.Fatal(err)
	}
	produced := make(chan error, 1)
	go func() { produced <- s.broker.produce(ctx, s.topic, records, rate) }()
	do := func(steps ...func() error) {
		t.Helper()
		for _, step := range steps {
			if err := step(); err != nil {
				t.Fatal(err)
			}
		}
	}
	wait := func(d time.Duration) func() error { return func() error { return rig.Pause(ctx, d) } }
	stop := func(in *instance) func() error { return func() error { return s.stop(ctx, in) } }
	do(
		wait(2*time.Second),
		func() error { return one.Process().Signal(syscall.SIGSTOP) },
		wait(4*time.Second),
		func() error { return one.Process().Signal(syscall.SIGCONT) },
		wait(2*time.Second),
		two.Kill,
		wait(time.Second),
		two.Start,
		wait(3*time.Second),
		stop(one),
		wait(500*time.Millisecond),
		one.Start,
	)
	three := s.newInstance(t, "three", 0, 0)
	do(three.Start, wait(2*time.Second), stop(three))
	if err := <-produced; err != nil {
		t.Fatal(err)
	}
	// Which state holds what depends on who came first, so alerts alone are compared.
	plain := *s
	plain.durable, plain.source = false, nil
	r := plain.finish(ctx, t, []*instance{one, two})
	want := plain.uninterrupted(t, 1)
	same(t, r, want)
	report(t, once(r, records))
	// It depends on which it gets to first: a commit, or what the clock says of its session.
	if said := one.Output(); !strings.Contains(said, "the partition belongs to another member by now") && !strings.Contains(said, "was taken for dead") {
		t.Errorf("the member that was stopped was refused nothing, and has not noticed either")
	}
	t.Logf("%s, %d came again", r.scenarios(), r.repeats)
}
