package simulation

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"sluice/cmd/internal/app"
	"sluice/pipeline"
	"sluice/pipeline/state"
	"sluice/sinks/outbox"
)

// world is all that a seed's processes live in.
type world struct {
	t       *testing.T
	plan    plan
	dir     string
	disks   diskMaker
	broker  *broker
	group   *group
	members []*member
	steps   *rand.Rand
	zombies []*process // crashed, and not yet at the end of Run

	mu      sync.Mutex // guards what follows
	history []string   // what happened, for whoever reads a failure
	failed  bool
	content map[string]string // of alerts by id
	uses    map[string]int    // how often an alert's id was committed to an outbox
}

// member is what outlives its processes: its partitions, its disk and its sinks.
type member struct {
	w      *world
	index  int
	parts  []pipeline.Partition
	disk   stateDisk
	config string // file
	phase  int    // of the rules
	life   int
	faults faults
	proc   *process // nil when none lives

	stateName string // as the group knows it

	mu        sync.Mutex // guards what follows
	positions map[pipeline.Partition]int64
	outbox    map[string][]string // what a sink is to get, in order
	got       map[string][]string // what it got, in the order in which it got it first
	seen      map[string]bool     // sink and id of got
}

func newWorld(t *testing.T, p plan, dir string, disks diskMaker) *world {
	w := &world{
		t: t, plan: p, dir: dir, disks: disks, broker: newBroker(p.makeLog()), steps: rand.New(rand.NewPCG(p.seed, streamSteps)),
		content: make(map[string]string), uses: make(map[string]int),
	}
	w.group = newGroup(w)
	for i := range p.members {
		m := &member{
			w: w, index: i, disk: disks(filepath.Join(dir, fmt.Sprintf("state%d", i))), config: filepath.Join(dir, fmt.Sprintf("member%d.yaml", i)),
			outbox: make(map[string][]string), got: make(map[string][]string), seen: make(map[string]bool),
		}
		m.faults.heard = make(chan struct{})
		m.faults.end()
		for id := i; id < p.partitions && !p.isGroup(); id += p.members {
			m.parts = append(m.parts, partition(id))
		}
		w.members = append(w.members, m)
	}
	return w
}

// rng is a stream of random numbers.
func (w *world) rng(stream uint64, of ...uint64) *rand.Rand {
	for _, n := range of {
		stream = stream<<12 + n
	}
	return rand.New(rand.NewPCG(w.plan.seed, stream))
}

func (w *world) record(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.history = append(w.history, time.Now().Format("15:04:05.000 ")+fmt.Sprintf(format, args...))
}

// fail is for any goroutine.
func (w *world) fail(format string, args ...any) {
	w.record("FAILED: "+format, args...)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.failed = true
}

func (w *world) isFailed() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.failed
}

func (m *member) name() string { return fmt.Sprintf("member-%d", m.index) }

func (m *member) durable() map[pipeline.Partition]int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return maps.Clone(m.positions)
}

// alive tells whether a process of the member lives, and buries one that has crashed.
func (m *member) alive() bool {
	if m.proc != nil && m.proc.isDead() {
		m.w.zombies = append(m.w.zombies, m.proc)
		m.proc = nil
	}
	return m.proc != nil
}

// start begins another life, with other numbers of everything.
func (m *member) start() {
	w := m.w
	m.life++
	pr := &process{w: w, member: m, life: m.life, done: make(chan error, 1)}
	pr.ctx, pr.stop = context.WithCancel(context.Background())
	text := w.plan.config(w.rng(streamConfig, uint64(m.index), uint64(m.life)), m.phase, m.name())
	if err := os.WriteFile(m.config, []byte(text), 0o600); err != nil {
		w.t.Fatal(err)
	}
	c, err := app.Load(m.config)
	if err != nil {
		w.t.Fatal(err)
	}
	w.record("member %d starts, life %d", m.index, m.life)
	pr.pipeline, err = app.New(c, app.Env{
		Log: slog.New(slog.DiscardHandler), Stdout: pr, Clock: pr, Names: names{pr},
		OpenState: func(state.Options) (app.Store, error) { return m.disk.open(pr) },
	})
	if err != nil {
		w.fail("member %d does not start: %v", m.index, err)
		return
	}
	m.proc = pr
	go func() {
		err := errors.Join(pr.pipeline.Run(pr.ctx), pr.pipeline.Close())
		if pr.ctx.Err() == nil {
			w.fail("member %d ended by itself: %v", m.index, err)
		}
		pr.done <- err
	}()
}

// patience bounds what must not take forever, in the time of the world.
const patience = 5 * time.Minute

// stop ends a process as SIGTERM does.
func (m *member) stop() {
	m.w.record("member %d is stopped", m.index)
	pr := m.proc
	pr.stop()
	select {
	case err := <-pr.done:
		if err != nil && !pr.isDead() {
			m.w.fail("member %d: the end of a run: %v", m.index, err)
		}
	case <-time.After(patience):
		m.w.fail("member %d does not stop", m.index)
	}
	m.proc = nil
}

// reload reads the rules again.
func (m *member) reload(phase int) (ok bool) {
	w, pr := m.w, m.proc
	w.record("member %d reloads its rules, phase %d", m.index, phase)
	text := w.plan.config(w.rng(streamConfig, uint64(m.index), uint64(m.life)), phase, m.name())
	if err := os.WriteFile(m.config, []byte(text), 0o600); err != nil {
		w.t.Fatal(err)
	}
	done := make(chan error, 1)
	again := w.steps.IntN(3)
	go func() {
		err := pr.pipeline.Reload(pr.ctx)
		for range again { // as fast as somebody can ask for it
			err = errors.Join(err, pr.pipeline.Reload(pr.ctx))
		}
		done <- err
	}()
	select {
	case err := <-done:
		if err != nil && !pr.isDead() {
			w.fail("member %d: %v", m.index, err)
		}
		return err == nil && !pr.isDead()
	case <-time.After(patience):
		w.fail("member %d does not end its reload", m.index)
		return false
	}
}

// rest waits until nothing happens any more without time passing.
func (w *world) rest() {
	if !w.plan.racy {
		synctest.Wait()
	}
}

// syncing is how long a disk takes for an epoch: nothing, or a while.
func (w *world) syncing(pr *process, epoch uint64) {
	rng := w.rng(streamDisk, uint64(pr.member.index), epoch)
	if !w.plan.oracle && rng.IntN(2) == 0 {
		time.Sleep(time.Duration(rng.IntN(500)) * time.Millisecond)
	}
}

// committed is told of every epoch that becomes durable.
func (w *world) committed(m *member, dict *state.Dictionary, e *state.Epoch, records map[string]string) error {
	positions, err := positionsOf(dict, records)
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for p, next := range m.positions {
		if positions[p] < next && (!w.plan.isGroup() || w.plan.missing == "wait") { // else state is given up
			return fmt.Errorf("the state of %s goes back from %d to %d", p, next, positions[p])
		}
	}
	m.positions = positions
	for _, entry := range e.Outbox {
		it, err := outbox.Decode(entry.Payload)
		if err != nil {
			return err
		}
		if it.Dead != nil {
			m.outbox[outbox.DeadLettersName] = append(m.outbox[outbox.DeadLettersName], it.Dead.Position.String())
			continue
		}
		for _, sink := range sinkNames {
			if it.For(sink) {
				m.outbox[sink] = append(m.outbox[sink], it.Alert.UUID)
			}
		}
		w.used(it.Alert.UUID)
	}
	return nil
}

var sinkNames = []string{"fast", "slow"}

// used counts an alert that is committed to an outbox.
func (w *world) used(id string) {
	w.mu.Lock()
	w.uses[id]++
	n := w.uses[id]
	w.mu.Unlock()
	if n > 1 && !w.plan.isGroup() { // of a group's, all but one are discarded
		w.fail("alert %s is committed to outboxes %d times", id, n)
	}
}

// discarded is told of every entry that is not to be delivered after all:
// others have found, or are to find, what it tells.
func (w *world) discarded(m *member, payload []byte) {
	it, err := outbox.Decode(payload)
	if err != nil || !w.plan.isGroup() {
		w.fail("member %d discards an entry of %d bytes: %v", m.index, len(payload), err)
		return
	}
	w.record("member %d discards what %s caused: %s", m.index, it.Cause(), idOf(&it))
	m.mu.Lock()
	defer m.mu.Unlock()
	names, id := []string{outbox.DeadLettersName}, idOf(&it)
	if it.Alert != nil {
		names = sinkNames
	}
	for _, name := range names {
		list := m.outbox[name]
		for i := len(list) - 1; i >= 0; i-- {
			if list[i] == id {
				m.outbox[name] = slices.Delete(list, i, i+1)
				break
			}
		}
	}
}

// idOf tells entries of the outbox apart.
func idOf(it *outbox.Item) string {
	if it.Alert != nil {
		return it.Alert.UUID
	}
	return it.Dead.Position.String()
}

// delivered is told of every alert that a sink gets.
func (w *world) delivered(pr *process, sink string, a *pipeline.Alert) error {
	m := pr.member
	content := contentOf(a)
	w.mu.Lock()
	was, known := w.content[a.UUID]
	w.content[a.UUID] = content
	w.mu.Unlock()
	if known && was != content {
		return fmt.Errorf("alert %s comes with another content:\n%s\n%s", a.UUID, was, content)
	}
	m.first(sink, a.UUID)
	if !w.plan.isGroup() {
		return nil
	}
	for _, other := range w.members {
		if other != m && other.has(sink, a.UUID) {
			return fmt.Errorf("alert %s is delivered by member %d too", a.UUID, other.index)
		}
	}
	if !w.group.mayDeliver(pr.source.keeper.Name(), a.Sluice.Cause) {
		return fmt.Errorf("alert %s is delivered, and the group has not accepted %s from it", a.UUID, a.Sluice.Cause)
	}
	return nil
}

func (m *member) has(sink, id string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.seen[sink+" "+id]
}

// buried is told of every dead letter.
func (w *world) buried(m *member, d *pipeline.DeadLetter) {
	m.first(outbox.DeadLettersName, d.Position.String())
}

// first notes what a sink gets for the first time.
func (m *member) first(sink, id string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if key := sink + " " + id; !m.seen[key] {
		m.seen[key] = true
		m.got[sink] = append(m.got[sink], id)
	}
}

// tell prints what happened.
func (w *world) tell() {
	w.mu.Lock()
	defer w.mu.Unlock()
	tell := w.t.Logf
	if w.failed {
		tell = w.t.Errorf
	}
	tell("%v\n%s\nagain: go test ./cmd/internal/simulation -run TestSimulation -seed %d", w.plan, strings.Join(w.history, "\n"), w.plan.seed)
}
