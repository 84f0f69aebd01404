package kafka

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"sluice/pipeline"
	"sluice/sources"
)

// realClock is the wall's, until stop: then no wait ends, as for a process
// that was stopped, until goOn.
type realClock struct {
	mu      sync.Mutex
	stopped chan struct{} // closed by goOn; nil while it runs
}

func (c *realClock) Now() time.Time { return time.Now() }

func (c *realClock) After(d time.Duration) <-chan time.Time {
	c.mu.Lock()
	stopped := c.stopped
	c.mu.Unlock()
	if stopped == nil {
		return time.After(d)
	}
	out := make(chan time.Time, 1)
	go func() { // ends with goOn
		<-stopped
		out <- time.Now()
	}()
	return out
}

func (c *realClock) stop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stopped = make(chan struct{})
}

func (c *realClock) goOn() {
	c.mu.Lock()
	defer c.mu.Unlock()
	close(c.stopped)
	c.stopped = nil
}

// TestAMemberThatWasStopped: it does not beat for longer than its session,
// another member goes on meanwhile, and it comes back.
func TestAMemberThatWasStopped(t *testing.T) {
	c := groupCluster(t, 1, "logs")
	produce(t, c, message("logs", 0, "a"))
	clock := &realClock{}
	r := newRig(t, c.ListenAddrs(), func(c *Config) {
		c.SessionTimeout, c.RebalanceTimeout = 3*time.Second, 3*time.Second // two must not miss its own on a busy machine
	})
	r.clock = clock
	one := r.start("one", nil)
	r.clock = nil
	r.until("one reads", one.got("a"))
	if err := one.Commit(t.Context(), sources.Positions{part("logs", 0): 1}); err != nil {
		t.Fatal(err)
	}
	two := r.start("two", nil)
	r.until("two waits", func() bool { return one.happened("revoked")() && one.has(0)() })
	clock.stop()
	produce(t, c, message("logs", 0, "b"))
	r.until("one reads on without a heartbeat", one.got("a", "b"))
	r.until("two goes on where the group stood", two.got("b"))
	if err := two.Commit(t.Context(), sources.Positions{part("logs", 0): 2}); err != nil {
		t.Fatal(err)
	}
	if err := one.Commit(t.Context(), sources.Positions{part("logs", 0): 2}); !errors.Is(err, sources.ErrFenced) {
		t.Errorf("one's commit: %v", err)
	}
	clock.goOn()
	produce(t, c, message("logs", 0, "c"))
	r.until("one is told, and two reads on", func() bool {
		return one.happened("refused")() && one.happened("revoked")() && two.got("b", "c")()
	})
	two.stop()
	r.until("one gets the partition back without the state", func() bool {
		return one.happened("assigned logs/0 at 3")() && one.got("a", "b")()
	})
	produce(t, c, message("logs", 0, "d"))
	r.until("one reads on", one.got("a", "b", "d"))
	if at, tenures := groupStands(t, one, 0); at != 3 || tenures != "sluice1 3:one 1:two 0:one" {
		t.Errorf("the group stands at %d, %q", at, tenures)
	}
}

// TestTheCoordinatorRefusesHeartbeatsAndCommits has it say each thing once.
func TestTheCoordinatorRefusesHeartbeatsAndCommits(t *testing.T) {
	for _, tc := range []struct {
		name string
		key  kmsg.Key
		code int16
		lost bool
	}{
		{"a heartbeat of an old generation", kmsg.Heartbeat, kerr.IllegalGeneration.Code, true},
		{"a heartbeat of a member it does not know", kmsg.Heartbeat, kerr.UnknownMemberID.Code, true},
		{"a heartbeat during a rebalance", kmsg.Heartbeat, kerr.RebalanceInProgress.Code, true},
		{"a heartbeat at another broker", kmsg.Heartbeat, kerr.NotCoordinator.Code, false},
		{"a commit of an old generation", kmsg.OffsetCommit, kerr.IllegalGeneration.Code, true},
		{"a commit at another broker", kmsg.OffsetCommit, kerr.NotCoordinator.Code, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := groupCluster(t, 1, "logs")
			produce(t, c, message("logs", 0, "a"))
			r := newRig(t, c.ListenAddrs(), func(c *Config) { c.SessionTimeout = 3 * time.Second })
			one := r.start("one", nil)
			r.until("it is read", one.got("a"))
			said := make(chan struct{})
			c.ControlKey(int16(tc.key), func(req kmsg.Request) (kmsg.Response, error, bool) {
				defer close(said)
				switch req := req.(type) {
				case *kmsg.HeartbeatRequest:
					res := req.ResponseKind().(*kmsg.HeartbeatResponse)
					res.ErrorCode = tc.code
					return res, nil, true
				case *kmsg.OffsetCommitRequest:
					res := req.ResponseKind().(*kmsg.OffsetCommitResponse)
					res.Topics = []kmsg.OffsetCommitResponseTopic{{Topic: "logs", Partitions: []kmsg.OffsetCommitResponseTopicPartition{{ErrorCode: tc.code}}}}
					return res, nil, true
				}
				return nil, nil, false
			})
			if tc.key == kmsg.OffsetCommit {
				err := one.Commit(t.Context(), sources.Positions{part("logs", 0): 1})
				if err == nil || errors.Is(err, sources.ErrFenced) != tc.lost {
					t.Errorf("commit: %v", err)
				}
			}
			await(t, "the coordinator says it", said)
			if tc.lost {
				r.until("it is assigned anew", func() bool { return len(one.log) >= 3 && one.has(0)() })
				if one.log[1] != "revoked logs/0" {
					t.Errorf("log %q", one.log)
				}
			}
			r.asks("the next try succeeds, once the tenure is there", func() bool {
				err := one.Commit(t.Context(), sources.Positions{part("logs", 0): 1})
				if err != nil && !errors.Is(err, sources.ErrFenced) {
					t.Fatal(err)
				}
				return err == nil
			})
		})
	}
}

func TestWhatEndsAMembersRun(t *testing.T) {
	for _, tc := range []struct {
		name string
		code int16
		edit func(*Config)
		want string
	}{
		{"another kind of member", kerr.InconsistentGroupProtocol.Code, nil, "give this source a group of its own"},
		{"a session of a length that is not allowed", 0, func(c *Config) { c.SessionTimeout, c.RebalanceTimeout = 10*time.Minute, 20*time.Minute }, "group.max.session.timeout.ms"},
		{"a full group", kerr.GroupMaxSizeReached.Code, nil, "raise the brokers' group.max.size"},
		{"no right to the group", kerr.GroupAuthorizationFailed.Code, nil, "Group Authorization Failed"},
		{"a topic that does not exist", 0, func(c *Config) { c.Topics = []string{"none"} }, `topic "none" does not exist`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := groupCluster(t, 1, "logs")
			if tc.code != 0 {
				c.ControlKey(int16(kmsg.JoinGroup), func(req kmsg.Request) (kmsg.Response, error, bool) {
					res := req.ResponseKind().(*kmsg.JoinGroupResponse)
					res.ErrorCode = tc.code
					return res, nil, true
				})
			}
			config := Default()
			config.Brokers, config.Topics, config.Group, config.Assignment = c.ListenAddrs(), []string{"logs"}, "g", assignGroup
			if tc.edit != nil {
				tc.edit(&config)
			}
			g, err := NewGroup("k", config, sources.Env{})
			if err != nil {
				t.Fatal(err)
			}
			defer g.Close()
			if err := g.Run(t.Context(), nil, nil); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v, want %q", err, tc.want)
			}
		})
	}
}

func TestAStateWhoseNameCannotBeWrittenDownIsRefused(t *testing.T) {
	c := groupCluster(t, 1, "logs")
	r := newRig(t, c.ListenAddrs(), nil)
	p := r.start("one two", nil)
	p.ended = true
	if err := await(t, "it ends", p.err); err == nil || !strings.Contains(err.Error(), `"one two" cannot be that of a group's member`) {
		t.Errorf("error %v", err)
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
}

func TestWhatTheKeeperLeavesOutIsNotRead(t *testing.T) {
	c := groupCluster(t, 2, "logs")
	produce(t, c, message("logs", 0, "a"), message("logs", 1, "b"))
	r := newRig(t, c.ListenAddrs(), nil)
	r.leaveOut = 0
	one := r.start("one", nil)
	r.until("the other is read", one.got("b"))
	if err := one.Commit(t.Context(), sources.Positions{part("logs", 0): 1}); !errors.Is(err, sources.ErrFenced) {
		t.Errorf("a commit of what is not read: %v", err)
	}
	if at, _ := groupStands(t, one, 0); at != -1 {
		t.Errorf("the group stands at %d in what is not read", at)
	}
}

// quiet is a Group for tests of its parts, which needs no broker.
func quiet(t *testing.T) *Group {
	t.Helper()
	config := Default()
	config.Brokers, config.Topics, config.Group, config.Assignment = []string{"127.0.0.1:1"}, []string{"logs"}, "g", assignGroup
	g, err := NewGroup("k", config, sources.Env{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// slowKeeper is a state that needs longer for a revoke than there is time.
type slowKeeper struct {
	sources.Keeper
	took time.Duration
}

func (k *slowKeeper) Revoked(ctx context.Context, _ []pipeline.Partition) error {
	begun := time.Now()
	<-ctx.Done()
	k.took = time.Since(begun)
	return context.Cause(ctx)
}

func TestARevokeIsBoundedFromTheEndOfTheTenure(t *testing.T) {
	for _, tc := range []struct{ session, rebalance, passed, want time.Duration }{
		{45 * time.Second, time.Minute, 0, 15 * time.Second},
		{45 * time.Second, time.Minute, 10 * time.Second, 5 * time.Second}, // an Emit returned late
		{45 * time.Second, time.Minute, 20 * time.Second, 0},
		{6 * time.Second, 6 * time.Second, 0, 2 * time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			g := quiet(t)
			g.config.SessionTimeout, g.config.RebalanceTimeout = tc.session, tc.rebalance
			k := &slowKeeper{}
			g.Keep(k)
			ended := time.Now()
			time.Sleep(tc.passed) // the bubble's time
			err := g.revoke(t.Context(), ended, []pipeline.Partition{part("logs", 0)}, false)
			if !errors.Is(err, context.DeadlineExceeded) || k.took != tc.want {
				t.Errorf("session %v, rebalance %v, %v after the end: the revoke took %v, want %v (%v)", tc.session, tc.rebalance, tc.passed, k.took, tc.want, err)
			}
			g.stop()
		})
	}
}

func TestAMemberThatHearsNothingForASessionGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := quiet(t)
		begun := time.Now()
		var reason error
		var after time.Duration
		ten := &tenure{generation: generation{id: 1, member: "m", since: begun}}
		ten.end = func(err error) { reason, after = err, time.Since(begun) }
		g.beat(t.Context(), ten) // nobody listens at its broker
		var lost *lostError
		if !errors.As(reason, &lost) || after < g.config.SessionTimeout || after > g.config.SessionTimeout+g.config.HeartbeatInterval {
			t.Errorf("after %v it ends for %v", after, reason)
		}
		if !strings.Contains(reason.Error(), "nothing was heard of the coordinator for 45s") {
			t.Errorf("reason %v", reason)
		}
		g.stop()
	})
}

func TestTheGroupsConfigurationIsChecked(t *testing.T) {
	for _, tc := range []struct {
		name string
		edit func(*Config)
		want string
	}{
		{"an unknown assignment", func(c *Config) { c.Assignment = "sticky" }, "neither static nor group"},
		{"no group", func(c *Config) { c.Group = "" }, "group needs a group"},
		{"a share", func(c *Config) { c.Share = sources.Share{Ordinal: 0, Count: 2} }, "leave out partitions and share"},
		{"partitions", func(c *Config) { c.Partitions = []int32{1} }, "leave out partitions and share"},
		{"heartbeats too far apart", func(c *Config) { c.HeartbeatInterval = 20 * time.Second }, "three times heartbeat_interval"},
		{"a rebalance shorter than a session", func(c *Config) { c.RebalanceTimeout = 30 * time.Second }, "from session_timeout to 1h"},
	} {
		config := Default()
		config.Brokers, config.Topics, config.Group, config.Assignment = []string{"a:1"}, []string{"logs"}, "g", assignGroup
		tc.edit(&config)
		if err := config.Validate(); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want %q", tc.name, err, tc.want)
		}
	}
}

// TestACoordinatorThatGoesAndComes: the broker is away for less than a session.
func TestACoordinatorThatGoesAndComes(t *testing.T) {
	c := groupCluster(t, 1, "logs")
	produce(t, c, message("logs", 0, "a"))
	r := newRig(t, c.ListenAddrs(), nil)
	one := r.start("one", nil)
	r.until("it is read", one.got("a"))
	failures := 0
	back := make(chan struct{})
	c.ControlKey(int16(kmsg.Heartbeat), func(kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		if failures++; failures <= 3 {
			return nil, errors.New("the connection breaks"), true
		}
		if failures == 5 {
			close(back)
		}
		return nil, nil, false
	})
	await(t, "heartbeats are answered again", back)
	produce(t, c, message("logs", 0, "b"))
	r.until("it reads on", one.got("a", "b"))
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(one.log) != 1 || one.Stats().Errors < 3 || one.Stats().Reconnects == 0 {
		t.Errorf("log %q, stats %+v", one.log, one.Stats())
	}
}
