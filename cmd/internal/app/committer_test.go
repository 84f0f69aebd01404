package app

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"sluice/pipeline"
	"sluice/sources"
)

// slowCommits is a source whose Commit takes a second and is refused at first.
type slowCommits struct {
	fakeMember
	refusals       int
	calls          int
	inside, atOnce atomic.Int32
}

func (s *slowCommits) Commit(context.Context, sources.Positions) error {
	s.atOnce.Store(max(s.atOnce.Load(), s.inside.Add(1)))
	defer s.inside.Add(-1)
	time.Sleep(time.Second)
	if s.calls++; s.calls <= s.refusals {
		return errors.New("the broker is away")
	}
	return nil
}

func TestCommitsComeOneAtATimeAndAreTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &slowCommits{fakeMember: fakeMember{name: "s"}, refusals: 2}
		p := &Pipeline{log: slog.New(slog.DiscardHandler), clock: sources.Env{}.Complete().Clock, sources: []sources.Source{s}}
		c := newCommitter(p)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- c.run(ctx) }()
		c.add(map[pipeline.Partition]int64{{Source: "s"}: 7})
		synctest.Wait()
		if err := c.commit(ctx); err == nil { // as the end of a run does
			t.Error("the second refusal was not told")
		}
		time.Sleep(10 * time.Second)
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if s.atOnce.Load() != 1 || s.calls != 3 || len(c.due) != 0 {
			t.Errorf("%d commits at once, %d in all, %d offsets due; want 1, 3 and none", s.atOnce.Load(), s.calls, len(c.due))
		}
	})
}
