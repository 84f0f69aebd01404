package kafka

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
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

// rig is several members of a group, as processes with state of their own.
type rig struct {
	t       testing.TB
	brokers []string
	edit    func(*Config)
	// clock is that of the processes that start from now on, the wall's when nil.
	clock sources.Clock
	// leaveOut is the partition that no Keeper takes, -1 for none.
	leaveOut int32

	mu      sync.Mutex // guards all that its members write down
	changed chan struct{}
}

func newRig(t testing.TB, brokers []string, edit func(*Config)) *rig {
	return &rig{t: t, brokers: brokers, edit: edit, leaveOut: -1, changed: make(chan struct{})}
}

// groupCluster takes short sessions.
func groupCluster(t testing.TB, partitions int32, topics ...string) *kfake.Cluster {
	t.Helper()
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(partitions, topics...), kfake.GroupMinSessionTimeout(10*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// note changes what is written down.
func (r *rig) note(change func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	change()
	close(r.changed)
	r.changed = make(chan struct{})
}

// until waits for a condition of what is written down.
func (r *rig) until(what string, holds func() bool) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), patience)
	defer cancel()
	for {
		r.mu.Lock()
		ok, changed := holds(), r.changed
		r.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			r.t.Fatalf("this does not happen: %s", what)
		}
	}
}

// asks waits for a condition that nothing written down tells of, but somebody who is asked.
func (r *rig) asks(what string, holds func() bool) {
	r.t.Helper()
	for limit := time.Now().Add(patience); !holds(); {
		if time.Now().After(limit) {
			r.t.Fatalf("this does not happen: %s", what)
		}
		<-time.After(time.Millisecond)
	}
}

// process is a member with a state that is as simple as can be: offsets.
type process struct {
	*Group
	rig    *rig
	name   string
	cancel context.CancelFunc
	err    chan error
	ended  bool

	held     sources.Positions    // where the state stands
	reading  map[string]bool      // partitions taken and not revoked
	assigned []sources.Assignment // the last ones
	log      []string             // what happened: "assigned …", "revoked …", "refused …"
	read     []string             // records, as value
	revoked  func(context.Context)
	emit     func(context.Context, *pipeline.RecordBatch)
}

// start begins a process whose state is called name, and that holds what an
// earlier process of the name held.
func (r *rig) start(name string, before *process) *process {
	r.t.Helper()
	config := Default()
	config.Brokers, config.Topics, config.Group, config.Assignment = r.brokers, []string{"logs"}, "g", assignGroup
	config.MaxWait, config.BackoffMin, config.BackoffMax = 20*time.Millisecond, 10*time.Millisecond, 50*time.Millisecond
	config.SessionTimeout, config.RebalanceTimeout, config.HeartbeatInterval = 6*time.Second, 6*time.Second, 20*time.Millisecond
	if r.edit != nil {
		r.edit(&config)
	}
	var log *slog.Logger
	if testing.Verbose() {
		log = slog.New(slog.NewTextHandler(r.t.Output(), nil)).With("process", name)
	}
	g, err := NewGroup("k", config, sources.Env{Log: log, Clock: r.clock})
	if err != nil {
		r.t.Fatal(err)
	}
	g.mem.poison = true
	p := &process{Group: g, rig: r, name: name, err: make(chan error, 1), held: make(sources.Positions), reading: make(map[string]bool)}
	if before != nil {
		p.held = maps.Clone(before.held)
	}
	g.Keep(p)
	ctx, cancel := context.WithCancel(r.t.Context())
	p.cancel = cancel
	go func() { p.err <- g.Run(ctx, nil, p.take) }()
	r.t.Cleanup(func() {
		if !p.ended {
			p.stop()
		}
	})
	return p
}

// stop ends the process as a shutdown does.
func (p *process) stop() {
	p.rig.t.Helper()
	p.ended = true
	p.cancel()
	if err := await(p.rig.t, p.name+" ends", p.err); !errors.Is(err, context.Canceled) {
		p.rig.t.Errorf("%s: Run ends with %v", p.name, err)
	}
	if err := p.Close(); err != nil {
		p.rig.t.Error(err)
	}
}

func (p *process) take(ctx context.Context, b *pipeline.RecordBatch) error {
	defer b.Release()
	if p.emit != nil {
		p.emit(ctx, b)
	}
	p.rig.note(func() {
		for _, r := range b.Records {
			p.read = append(p.read, string(r.Value))
			p.held[b.Partition] = r.Offset + 1
		}
	})
	return nil
}

func key(p pipeline.Partition) string { return fmt.Sprintf("%s/%d", p.Topic, p.ID) }

// Name implements sources.Keeper.
func (p *process) Name() string { return p.name }

// Held implements sources.Keeper.
func (p *process) Held() sources.Positions {
	p.rig.mu.Lock()
	defer p.rig.mu.Unlock()
	return maps.Clone(p.held)
}

// Assigned implements sources.Keeper: state that fits goes on, other state gives way to a fresh one.
func (p *process) Assigned(_ context.Context, parts []sources.Assignment) (sources.Positions, error) {
	from := make(sources.Positions)
	p.rig.note(func() {
		p.assigned = parts
		for _, a := range parts {
			if a.ID == p.rig.leaveOut {
				continue
			}
			from[a.Partition] = a.Committed
			accepted, known := sources.Accepted(a.History, a.Committed, p.held[a.Partition])
			if at, ok := p.held[a.Partition]; ok && (at == a.Committed && accepted || at > a.Committed && !known) {
				from[a.Partition] = at
			} else {
				delete(p.held, a.Partition)
			}
			p.reading[key(a.Partition)] = true
			p.log = append(p.log, fmt.Sprintf("assigned %s at %d", key(a.Partition), from[a.Partition]))
		}
	})
	return from, nil
}

// Revoked implements sources.Keeper.
func (p *process) Revoked(ctx context.Context, parts []pipeline.Partition) error {
	if p.revoked != nil {
		p.revoked(ctx)
	}
	at := make(sources.Positions)
	p.rig.note(func() {
		for _, part := range parts {
			if next, ok := p.held[part]; ok {
				at[part] = next
			}
		}
	})
	err := p.commit(ctx, at)
	p.rig.note(func() {
		for _, part := range parts {
			delete(p.reading, key(part))
			p.log = append(p.log, "revoked "+key(part))
		}
	})
	return err
}

func (p *process) commit(ctx context.Context, at sources.Positions) error {
	err := p.Commit(ctx, at)
	if err != nil {
		p.rig.note(func() { p.log = append(p.log, "refused: "+err.Error()) })
	}
	return err
}

// has tells whether the process reads exactly these partitions of topic logs.
func (p *process) has(ids ...int) func() bool {
	return func() bool {
		if len(p.reading) != len(ids) {
			return false
		}
		for _, id := range ids {
			if !p.reading[fmt.Sprintf("logs/%d", id)] {
				return false
			}
		}
		return true
	}
}

func all(conditions ...func() bool) func() bool {
	return func() bool {
		for _, c := range conditions {
			if !c() {
				return false
			}
		}
		return true
	}
}

// got tells whether records were read, in any order between partitions.
func (p *process) got(values ...string) func() bool {
	return func() bool {
		got := slices.Sorted(slices.Values(p.read))
		return slices.Equal(got, slices.Sorted(slices.Values(values)))
	}
}

// happened tells whether the log has a line that begins so.
func (p *process) happened(begin string) func() bool {
	return func() bool {
		return slices.ContainsFunc(p.log, func(l string) bool { return strings.HasPrefix(l, begin) })
	}
}

// groupStands returns what the group's coordinator has for partitions of logs.
func groupStands(t testing.TB, p *process, id int32) (committed int64, tenures string) {
	t.Helper()
	known, err := p.standings(t.Context(), []pipeline.Partition{part("logs", id)})
	if err != nil {
		t.Fatal(err)
	}
	st := known[part("logs", id)]
	return st.committed, tenuresText(st.tenures)
}

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
