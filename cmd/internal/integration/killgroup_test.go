//go:build integration

package integration

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"sluice/cmd/internal/integration/rig"
)

// sessionTimeout is after how long the group does without a member it does not hear from.
const sessionTimeout = 2 * time.Second

// newGroup returns a setup whose instances share partitions as members of a group.
func newGroup(t *testing.T, missing string) *setup {
	t.Helper()
	s := parts.broker.newSetup(t, 8, counting())
	s.durable = true
	s.state = map[string]any{"missing": missing}
	s.source = map[string]any{"assignment": "group", "session_timeout": sessionTimeout.String(), "heartbeat_interval": "500ms", "rebalance_timeout": "10s"}
	return s
}

// TestKillGroup is part E of the kill test: members join, leave, are killed,
// and are frozen for longer than the group waits for them.
func TestKillGroup(t *testing.T) {
	for _, missing := range []string{"wait", "fresh"} {
		t.Run("E: state missing: "+missing, func(t *testing.T) {
			seed := rig.Seed(t)
			s := newGroup(t, missing)
			events := kills()
			records := counted(seed, 1500*events, 100, 8, false)
			length := time.Duration(events) * 2 * time.Second
			ctx, cancel := context.WithTimeout(t.Context(), 3*length+3*time.Minute)
			defer cancel()
			members := s.members(t, 3)
			both, ctx2 := errgroup.WithContext(ctx)
			both.Go(func() error {
				return s.broker.produce(ctx2, s.topic, records, int(float64(len(records))/length.Seconds()))
			})
			both.Go(func() error { return s.upheaval(ctx2, seed, events, members) })
			if err := both.Wait(); err != nil {
				t.Fatal(err)
			}
			r := s.finish(ctx, t, members)
			report(t, once(r, records))
			if missing == "wait" {
				// Each partition was read with its own state all the way.
				report(t, possible(r, records))
			}
			t.Logf("%d alerts, %d again", len(r.alerts), r.repeats)
		})
	}
}

// members makes and starts n members of the group.
func (s *setup) members(t *testing.T, n int) []*instance {
	t.Helper()
	var all []*instance
	for i := range n {
		in := s.newInstance(t, fmt.Sprintf("member-%d", i), 0, 0)
		if err := in.Start(); err != nil {
			t.Fatal(err)
		}
		all = append(all, in)
	}
	return all
}

// upheaval has members join, leave, die and freeze, and in the end has all of
// them there.
func (s *setup) upheaval(ctx context.Context, seed uint64, events int, members []*instance) error {
	rng := rand.New(rand.NewPCG(seed, 5))
	away := make(map[*instance]bool)
	for range events {
		if err := rig.Pause(ctx, time.Duration(rng.Int64N(int64(2*time.Second)))); err != nil {
			return err
		}
		m := members[rng.IntN(len(members))]
		var err error
		switch what := rng.IntN(3); {
		case away[m]:
			delete(away, m)
			err = m.Start()
		case what == 0:
			away[m] = true
			err = s.stop(ctx, m)
		case what == 1:
			away[m] = true
			err = m.Kill()
		default:
			err = m.freeze(ctx, sessionTimeout+time.Duration(rng.Int64N(int64(time.Second))))
		}
		if err != nil {
			return err
		}
		for _, m := range members {
			if err := m.Ended(); err != nil {
				return err
			}
		}
	}
	for m := range away {
		if err := m.Start(); err != nil {
			return err
		}
	}
	return nil
}

// freeze stops all of the process's threads for a while.
func (in *instance) freeze(ctx context.Context, d time.Duration) error {
	if err := in.Process().Signal(syscall.SIGSTOP); err != nil {
		return err
	}
	if err := rig.Pause(ctx, d); err != nil {
		return err
	}
	return in.Process().Signal(syscall.SIGCONT)
}

// TestAPartitionWithoutItsState shows what becomes of the partitions of a
// member that does not come back.
func TestAPartitionWithoutItsState(t *testing.T) {
	for _, tc := range []struct {
		missing string
		read    bool   // by the member that is left
		says    string // in its log
	}{
		{"wait", false, "state.missing: wait"},
		{"fresh", true, "state.missing: fresh"},
		{"rebuild", true, "state.missing: rebuild"},
	} {
		t.Run(tc.missing, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
			defer cancel()
			s := newGroup(t, tc.missing)
			records := counted(rig.Seed(t), 4000, 50, 8, false)
			half := len(records) / 2
			members := s.members(t, 2)
			// Both are members before there is anything to read, so that each gets a half.
			if err := rig.Poll(ctx, "both to be members", func() (bool, error) {
				return strings.Contains(members[0].Output()+members[1].Output(), "members=2"), nil
			}); err != nil {
				t.Fatal(err)
			}
			if err := s.broker.produce(ctx, s.topic, records[:half], 0); err != nil {
				t.Fatal(err)
			}
			if err := s.caughtUp(ctx, members); err != nil {
				t.Fatal(err)
			}
			gone, left := members[0], members[1]
			if err := gone.Stop(); err != nil {
				t.Fatal(err)
			}
			s.produce(ctx, t, records[half:], 0)
			if tc.read {
				if err := s.caughtUp(ctx, members[1:]); err != nil {
					t.Fatal(err)
				}
			}
			if err := rig.Poll(ctx, "the member that is left to say what it does", func() (bool, error) {
				return strings.Contains(left.Output(), tc.says), left.Ended()
			}); err != nil {
				t.Fatal(err)
			}
			if !tc.read {
				if err := gone.Start(); err != nil {
					t.Fatal(err)
				}
				r := s.finish(ctx, t, members)
				report(t, once(r, records))
				report(t, possible(r, records))
			}
		})
	}
}
