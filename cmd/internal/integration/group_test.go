//go:build integration

package integration

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"sluice/cmd/internal/integration/rig"
	"sluice/pipeline"
	"sluice/sources"
	"sluice/sources/kafka"
)

// groupMember is a Kafka source that is a member of a group, with a state of offsets only.
type groupMember struct {
	*kafka.Group
	name  string
	clock *stoppableClock
	end   func() error

	mu      sync.Mutex
	held    sources.Positions
	reading map[pipeline.Partition]bool
	read    []string // values
	history map[pipeline.Partition][]sources.Tenure
	revoked error // of all revokes: on a busy machine one more may come behind the one that is looked for
}

// stoppableClock is the wall's; stopped, no wait ends until it goes on, as for a process under SIGSTOP.
type stoppableClock struct {
	mu      sync.Mutex
	stopped chan struct{}
}

func (c *stoppableClock) Now() time.Time { return time.Now() }

func (c *stoppableClock) After(d time.Duration) <-chan time.Time {
	c.mu.Lock()
	stopped := c.stopped
	c.mu.Unlock()
	if stopped == nil {
		return time.After(d)
	}
	out := make(chan time.Time, 1)
	go func() { // ends when the clock goes on
		<-stopped
		out <- time.Now()
	}()
	return out
}

func (c *stoppableClock) stop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stopped = make(chan struct{})
}

func (c *stoppableClock) goOn() {
	c.mu.Lock()
	defer c.mu.Unlock()
	close(c.stopped)
	c.stopped = nil
}

// joinGroup starts a member whose state is called name and holds what before held.
func (b *broker) joinGroup(ctx context.Context, t *testing.T, topic, name string, before sources.Positions) *groupMember {
	t.Helper()
	config := kafka.Default()
	config.Brokers, config.Topics, config.Group, config.Assignment = b.Brokers(), []string{topic}, topic, "group"
	config.SessionTimeout, config.RebalanceTimeout, config.HeartbeatInterval = 2*time.Second, 5*time.Second, 100*time.Millisecond
	m := &groupMember{
		name: name, clock: &stoppableClock{}, held: make(sources.Positions), reading: make(map[pipeline.Partition]bool),
		history: make(map[pipeline.Partition][]sources.Tenure),
	}
	maps.Copy(m.held, before)
	g, err := kafka.NewGroup("k", config, sources.Env{Clock: m.clock})
	if err != nil {
		t.Fatal(err)
	}
	m.Group = g
	g.Keep(m)
	running, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- g.Run(running, nil, m.take) }() // end waits for it
	m.end = sync.OnceValue(func() error {
		cancel()
		err := <-ended
		if errors.Is(err, context.Canceled) {
			err = nil
		}
		return errors.Join(err, g.Close())
	})
	t.Cleanup(func() {
		if err := m.end(); err != nil {
			t.Error(err)
		}
	})
	return m
}

func (m *groupMember) take(_ context.Context, b *pipeline.RecordBatch) error {
	defer b.Release()
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, r := range b.Records {
		m.read = append(m.read, string(r.Value))
		m.held[b.Partition] = r.Offset + 1
	}
	return nil
}

// Name implements sources.Keeper.
func (m *groupMember) Name() string { return m.name }

// Held implements sources.Keeper.
func (m *groupMember) Held() sources.Positions {
	m.mu.Lock()
	defer m.mu.Unlock()
	return maps.Clone(m.held)
}

// Assigned implements sources.Keeper: state that fits goes on, other state gives way to a fresh one.
func (m *groupMember) Assigned(_ context.Context, parts []sources.Assignment) (sources.Positions, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	from := make(sources.Positions)
	for _, a := range parts {
		m.history[a.Partition], m.reading[a.Partition] = a.History, true
		at, ok := m.held[a.Partition]
		accepted, known := sources.Accepted(a.History, a.Committed, at)
		if ok && (accepted && at == a.Committed || !known && at > a.Committed) {
			from[a.Partition] = at
			continue
		}
		delete(m.held, a.Partition)
		from[a.Partition] = a.Committed
	}
	return from, nil
}

// Revoked implements sources.Keeper.
func (m *groupMember) Revoked(ctx context.Context, parts []pipeline.Partition) error {
	at := make(sources.Positions)
	for p, offset := range m.Held() {
		if slices.Contains(parts, p) {
			at[p] = offset
		}
	}
	err := m.Commit(ctx, at)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.revoked = errors.Join(m.revoked, err)
	for _, p := range parts {
		delete(m.reading, p)
	}
	return err
}

// has waits until the member reads exactly these partitions.
func (m *groupMember) has(ctx context.Context, t *testing.T, ids ...int32) {
	t.Helper()
	if err := rig.Poll(ctx, fmt.Sprintf("%s to read %v", m.name, ids), func() (bool, error) {
		m.mu.Lock()
		defer m.mu.Unlock()
		var got []int32
		for p := range m.reading {
			got = append(got, p.ID)
		}
		slices.Sort(got)
		return slices.Equal(got, ids), nil
	}); err != nil {
		t.Fatal(err)
	}
}

// got waits until the member has read a value.
func (m *groupMember) got(ctx context.Context, t *testing.T, value string) {
	t.Helper()
	if err := rig.Poll(ctx, m.name+" to read "+value, func() (bool, error) {
		m.mu.Lock()
		defer m.mu.Unlock()
		return slices.Contains(m.read, value), nil
	}); err != nil {
		t.Fatal(err)
	}
}

// write puts a value into a partition.
func (b *broker) write(ctx context.Context, t *testing.T, topic string, partition int32, value string) {
	t.Helper()
	if err := b.produce(ctx, topic, []record{{partition: partition, text: value, time: begin}}, 0); err != nil {
		t.Fatal(err)
	}
}

// TestMembersOfAGroup has members join, leave, stop past their session and come back.
func TestMembersOfAGroup(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	b := parts.broker
	topic := fmt.Sprintf("group-%d", time.Now().UnixNano())
	if err := b.admin.CreateTopic(ctx, topic, 4, nil); err != nil {
		t.Fatal(err)
	}
	part := func(id int32) pipeline.Partition { return pipeline.Partition{Source: "k", Topic: topic, ID: id} }
	one := b.joinGroup(ctx, t, topic, "one", nil)
	one.has(ctx, t, 0, 1, 2, 3)
	two := b.joinGroup(ctx, t, topic, "two", nil)
	one.has(ctx, t, 0, 2)
	two.has(ctx, t, 1, 3)
	for id := range int32(4) {
		b.write(ctx, t, topic, id, fmt.Sprint("first-", id))
	}
	one.got(ctx, t, "first-0")
	one.got(ctx, t, "first-2")
	two.got(ctx, t, "first-1")
	two.got(ctx, t, "first-3")

	// Two leaves after its last commit, and comes back to what it holds.
	left := time.Now()
	if err := two.end(); err != nil {
		t.Fatal(err)
	}
	one.has(ctx, t, 0, 1, 2, 3)
	t.Logf("the partitions of a member that left were read elsewhere after %v", time.Since(left).Round(time.Millisecond))
	if at, err := b.admin.Committed(ctx, topic, topic, 4); err != nil || at[1] != 1 {
		t.Errorf("the group stands at %v, %v", at, err)
	}
	two = b.joinGroup(ctx, t, topic, "two", two.Held())
	two.has(ctx, t, 1, 3)

	// One stops beating and reads on; two takes over what it had.
	one.clock.stop()
	b.write(ctx, t, topic, 0, "second-0")
	one.got(ctx, t, "second-0")
	two.has(ctx, t, 0, 1, 2, 3)
	two.got(ctx, t, "second-0")
	if err := one.Commit(ctx, sources.Positions{part(0): 2}); !errors.Is(err, sources.ErrFenced) {
		t.Errorf("the commit of a member that was taken for dead: %v", err)
	}
	if err := two.Commit(ctx, sources.Positions{part(0): 2}); err != nil {
		t.Errorf("the commit of the member that took over: %v", err)
	}
	one.clock.goOn()
	one.has(ctx, t, 2) // its state of 0 was refused, that of 2 is still good
	if err := rig.Poll(ctx, "one to be refused", func() (bool, error) {
		one.mu.Lock()
		defer one.mu.Unlock()
		return errors.Is(one.revoked, sources.ErrFenced), nil
	}); err != nil {
		t.Fatalf("%v; its commits at revokes came to %v", err, one.revoked)
	}

	// The history outlives all members.
	if err := errors.Join(one.end(), two.end()); err != nil {
		t.Fatal(err)
	}
	three := b.joinGroup(ctx, t, topic, "three", nil)
	three.has(ctx, t, 0, 1, 2, 3)
	three.mu.Lock()
	history := three.history[part(0)]
	three.mu.Unlock()
	if len(history) < 2 || history[0].Member != "two" || history[0].Began != 1 || history[1].Member != "one" {
		t.Errorf("the tenures are %+v", history)
	}
	if accepted, known := sources.Accepted(history, 2, 2); accepted || !known {
		// Asked without a tenure of its own: all began before.
		t.Errorf("accepted %v, known %v", accepted, known)
	}
}
