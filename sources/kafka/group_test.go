package kafka

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"sluice/pipeline"
	"sluice/sources"
)

func TestAGroupOfOneReadsAllAndGoesOnWhereItStood(t *testing.T) {
	c := groupCluster(t, 2, "logs")
	produce(t, c, message("logs", 0, "a"), message("logs", 1, "b"))
	r := newRig(t, c.ListenAddrs(), nil)
	one := r.start("one", nil)
	r.until("all is read", one.got("a", "b"))
	if err := one.Commit(t.Context(), sources.Positions{part("logs", 0): 1}); err != nil {
		t.Fatal(err)
	}
	if at, tenures := groupStands(t, one, 0); at != 1 || tenures != "sluice1 0:one" {
		t.Errorf("the group stands at %d, %q", at, tenures)
	}
	one.stop() // commits the rest
	produce(t, c, message("logs", 0, "c"))
	again := r.start("one", one)
	r.until("the rest is read", again.got("c"))
	a := again.assigned[1]
	if want := (sources.Tenure{Began: 0, Member: "one", Own: true}); a.Committed != 1 || a.ID != 1 || len(a.History) != 1 || a.History[0] != want {
		t.Errorf("assigned %+v", a)
	}
	again.stop()
	if one.Stats().Records != 2 || again.Stats().Records != 1 {
		t.Errorf("%d and %d records", one.Stats().Records, again.Stats().Records)
	}
}

func TestMembersComeAndGo(t *testing.T) {
	c := groupCluster(t, 4, "logs")
	r := newRig(t, c.ListenAddrs(), nil)
	one := r.start("one", nil)
	r.until("one reads all", one.has(0, 1, 2, 3))
	r.asks("its tenure is written down", func() bool { // behind that, and only while nobody joins
		_, tenures := groupStands(t, one, 1)
		return tenures == "sluice1 0:one"
	})
	// Nothing was read yet, so state is empty and two gets a half.
	two := r.start("two", nil)
	r.until("both read a half", all(one.has(0, 2), two.has(1, 3)))
	produce(t, c, message("logs", 0, "a"), message("logs", 1, "b"), message("logs", 2, "c"), message("logs", 3, "d"))
	r.until("both read", all(one.got("a", "c"), two.got("b", "d")))
	// Now state holds all of them: a third member gets nothing.
	three := r.start("three", nil)
	r.until("three joined", func() bool {
		times := 0 // two was the first for whom one gave all back
		for _, l := range one.log {
			if l == "revoked logs/0" {
				times++
			}
		}
		return times >= 2 && len(three.reading) == 0 && one.has(0, 2)() && two.has(1, 3)()
	})
	two.stop()
	r.until("three gets what two had", all(one.has(0, 2), three.has(1, 3)))
	produce(t, c, message("logs", 1, "e"))
	r.until("three goes on where two stopped", three.got("e"))
	// Two comes back: three has gone on with 1, and holds nothing of 3.
	again := r.start("two", two)
	r.until("two gets back what its state holds furthest", all(one.has(0, 2), three.has(1), again.has(3)))
	three.stop()
	one.stop()
	r.until("two has all", again.has(0, 1, 2, 3))
	produce(t, c, message("logs", 1, "f"))
	r.until("two reads on", again.got("f"))
	if at, tenures := groupStands(t, again, 1); at != 2 || tenures != "sluice1 2:two 1:three 0:two 0:one" {
		t.Errorf("the group stands at %d, %q", at, tenures)
	}
}

func TestARevokeCommitsWhatWasEmitted(t *testing.T) {
	c := groupCluster(t, 1, "logs")
	produce(t, c, message("logs", 0, "a"), message("logs", 0, "b"))
	r := newRig(t, c.ListenAddrs(), nil)
	one := r.start("one", nil)
	r.until("all is read", one.got("a", "b"))
	before := make(chan int64, 1)
	once := sync.OnceFunc(func() {
		at, _ := groupStands(t, one, 0)
		before <- at
	})
	one.revoked = func(context.Context) { once() }
	two := r.start("two", nil)
	if at := await(t, "one is to give back what it reads", before); at != 0 {
		t.Errorf("before the revoke the group stands at %d", at)
	}
	r.until("one goes on", func() bool { return one.has(0)() && one.happened("revoked")() })
	if at, _ := groupStands(t, one, 0); at != 2 {
		t.Errorf("the group stands at %d, want 2", at)
	}
	if one.happened("refused")() {
		t.Errorf("log %q", one.log)
	}
	if two.happened("assigned")() {
		t.Errorf("two was assigned what one holds: %q", two.log)
	}
}

func TestAMemberTakenForDeadReleasesNothing(t *testing.T) {
	c := groupCluster(t, 1, "logs")
	produce(t, c, message("logs", 0, "a"))
	r := newRig(t, c.ListenAddrs(), nil)
	one := r.start("one", nil)
	r.until("it is read", one.got("a"))
	if err := one.Commit(t.Context(), sources.Positions{part("logs", 0): 1}); err != nil {
		t.Fatal(err)
	}
	produce(t, c, message("logs", 0, "b"))
	r.until("b is read", one.got("a", "b"))
	// One is silent while another takes over: as if it had been stopped.
	kick(t, c, one)
	r.until("it is assigned again", func() bool { return len(one.log) >= 4 })
	r.mu.Lock()
	defer r.mu.Unlock()
	refusal := one.log[1]
	if !strings.HasPrefix(refusal, "refused: kafka: topic \"logs\", partition 0: offset 2 of group \"g\" is not committed: "+sources.ErrFenced.Error()) {
		t.Errorf("log %q", one.log)
	}
	if one.log[3] != "assigned logs/0 at 2" { // nobody went on, so the state stays
		t.Errorf("log %q", one.log)
	}
}

// kick has the coordinator take a member for dead, as an administrator can.
func kick(t testing.TB, c *kfake.Cluster, p *process) {
	t.Helper()
	req := kmsg.NewPtrLeaveGroupRequest()
	req.Group = p.config.Group
	p.mu.Lock()
	req.Members = []kmsg.LeaveGroupRequestMember{{MemberID: p.current.member}}
	p.mu.Unlock()
	res, err := req.RequestWith(t.Context(), franz(t, c))
	if err == nil {
		err = kerr.ErrorForCode(res.ErrorCode)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestACommitWhoseAnswerWasLost(t *testing.T) {
	c := groupCluster(t, 1, "logs")
	produce(t, c, message("logs", 0, "a"), message("logs", 0, "b"))
	r := newRig(t, c.ListenAddrs(), nil)
	one := r.start("one", nil)
	r.until("all is read", one.got("a", "b"))
	one.revoked = func(context.Context) { // it holds only the first
		r.note(func() { one.held[part("logs", 0)] = 1 })
	}
	one.stop()
	two := r.start("two", nil)
	r.until("two goes on", two.got("b"))
	late := r.start("one", nil)
	r.until("one is back and gets nothing", func() bool { return two.happened("revoked")() && two.has(0)() })
	if err := late.Commit(t.Context(), sources.Positions{part("logs", 0): 1}); err != nil {
		t.Errorf("an offset that was accepted: %v", err)
	}
	if err := late.Commit(t.Context(), sources.Positions{part("logs", 0): 2}); !errors.Is(err, sources.ErrFenced) {
		t.Errorf("an offset that others reached: %v", err)
	}
}

func TestTopicsThatAppearAndGrow(t *testing.T) {
	c := groupCluster(t, 1, "logs")
	r := newRig(t, c.ListenAddrs(), func(c *Config) {
		c.Topics, c.TopicRegexp, c.MetadataInterval, c.Start = nil, "logs|more", 20*time.Millisecond, StartLatest
	})
	one := r.start("one", nil)
	r.until("one reads", one.has(0))
	addPartitions(t, c, "logs", 2)
	r.until("one reads both", one.has(0, 1))
	createTopic(t, c, "more", 1)
	produce(t, c, message("more", 0, "new"))
	r.until("one reads the new topic from its beginning", one.got("new"))
}

func TestWithoutStateMembersShareEvenly(t *testing.T) {
	c := groupCluster(t, 2, "logs")
	produce(t, c, message("logs", 0, "a"), message("logs", 1, "b"))
	r := newRig(t, c.ListenAddrs(), nil)
	run := func(name string) (g *Group, records chan string, stop func()) {
		p := r.start(name, nil)
		p.stop() // only for its configuration
		g, err := NewGroup("k", p.config, sources.Env{})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		records = make(chan string, 10)
		var running sync.WaitGroup
		running.Go(func() {
			_ = g.Run(ctx, nil, func(_ context.Context, b *pipeline.RecordBatch) error {
				for _, r := range b.Records {
					records <- fmt.Sprintf("%d:%s", b.Partition.ID, r.Value)
				}
				b.Release()
				return nil
			})
		})
		return g, records, func() {
			cancel()
			running.Wait()
			if err := g.Close(); err != nil {
				t.Error(err)
			}
		}
	}
	one, first, stop := run("one")
	defer stop()
	if got := []string{await(t, "a record", first), await(t, "another one", first)}; !slices.Contains(got, "0:a") || !slices.Contains(got, "1:b") {
		t.Fatalf("read %q", got)
	}
	two, second, stopTwo := run("two")
	defer stopTwo()
	// The revoke waits for the runtime's own commits.
	r.asks("each reads one partition", func() bool {
		err := one.Commit(t.Context(), sources.Positions{part("logs", 0): 1, part("logs", 1): 1})
		if err != nil && !errors.Is(err, sources.ErrFenced) {
			t.Fatal(err)
		}
		return len(two.Stats().Partitions) == 1 && len(one.Stats().Partitions) == 1
	})
	produce(t, c, message("logs", 0, "c"), message("logs", 1, "d"))
	got := []string{await(t, "a record of one's", first), await(t, "a record of two's", second)}
	slices.Sort(got)
	if !slices.Equal(got, []string{"0:c", "1:d"}) {
		t.Errorf("read %q; %+v %+v", got, one.Stats(), two.Stats())
	}
}
