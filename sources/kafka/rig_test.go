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

	"github.com/twmb/franz-go/pkg/kfake"

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
