package pipeline

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"sluice/pipeline/state"
)

// records are the records of a checkpoint, as a store keeps them.
type records map[string]string

func (r records) apply(t *testing.T, s *Snapshot) {
	t.Helper()
	for _, w := range s.Parts() {
		err := w.Each(
			func(k, v []byte) error { r[string(k)] = string(v); return nil },
			func(k []byte) error {
				if _, ok := r[string(k)]; !ok {
					t.Errorf("record %q is deleted and was not there", k)
				}
				delete(r, string(k))
				return nil
			},
		)
		if err != nil {
			t.Fatal(err)
		}
	}
}

// durableToy is a toyShard that can be written down. It copies itself at a
// barrier and hands out the copy a bucket at a time.
type durableToy struct {
	toyShard
	sums    map[string]state.Sum
	frozen  []string
	values  map[string]int32
	changed map[string]bool
	writer  *state.Writer
	failed  error // of the next Apply
}

func newDurableToy(every int32) *durableToy {
	return &durableToy{
		toyShard: toyShard{make(map[string]int32), every},
		sums:     make(map[string]state.Sum), changed: make(map[string]bool),
	}
}

func (s *durableToy) Apply(p Partition, steps []ClockStep, pours []*Pour, out []Overflow) []Overflow {
	for _, pour := range pours {
		s.changed[strings.Clone(pour.Key)] = true
	}
	return s.toyShard.Apply(p, steps, pours, out)
}

func (s *durableToy) Freeze() {
	s.frozen, s.values = slices.Sorted(maps.Keys(s.changed)), maps.Clone(s.counts)
	s.writer = &state.Writer{}
	clear(s.changed)
}

func (s *durableToy) Encode(n int) *state.Writer {
	for ; n > 0 && len(s.frozen) > 0; n-- {
		key := s.frozen[0]
		s.frozen = s.frozen[1:]
		s.sums[key] = s.writer.Put([]byte("b"+fmt.Sprint(s.every)+key), fmt.Append(nil, s.values[key]), s.sums[key])
	}
	if len(s.frozen) > 0 {
		return nil
	}
	return s.writer
}

func (s *durableToy) Stored(uint64)    {}
func (s *durableToy) Forget(Partition) {}
func (s *durableToy) Err() error       { return s.failed }

func (s *durableToy) load(r records) {
	for k, v := range r {
		if key, ours := strings.CutPrefix(k, "b"+fmt.Sprint(s.every)); ours {
			var n int32
			_, _ = fmt.Sscan(v, &n)
			s.counts[key] = n
			s.sums[key] = state.SumOf([]byte(k), []byte(v))
		}
	}
}

// toyCoder writes a toy pour as its key and line, an overflow as its key and count.
type toyCoder struct{}

func (toyCoder) AppendPour(to []byte, p *Pour) []byte {
	to = binary.AppendUvarint(to, uint64(len(p.Key)))
	to = append(to, p.Key...)
	to = binary.AppendUvarint(to, p.Route)
	to = binary.AppendUvarint(to, uint64(p.Scenario))
	return binary.AppendUvarint(to, uint64(p.Event.Position.Offset))
}

func (toyCoder) AppendOverflow(to []byte, o *Overflow) []byte {
	return fmt.Appendf(to, "%d %d %d %s", o.Scenario, o.Count, o.Cause.Offset, o.Key)
}

func decodeToyPour(part Partition) func(b []byte) (*Pour, []byte, error) {
	return func(b []byte) (*Pour, []byte, error) {
		take := func() uint64 {
			v, n := binary.Uvarint(b)
			b = b[n:]
			return v
		}
		n := take()
		key := string(b[:n])
		b = b[n:]
		p := &Pour{Key: key, Route: take(), Scenario: int32(take())}
		p.AlertLane = p.Scenario == 1
		p.Event = &Kept{Position: Position{Partition: part, Offset: int64(take())}}
		return p, b, nil
	}
}

// toyRun is a toy engine that can be stopped at a barrier and go on from it.
type toyRun struct {
	t        *testing.T
	workers  int
	shards   int
	merge    *MergeOptions
	stored   records
	dict     *state.Dictionary
	alerts   []string // of finished epochs
	snapshot *Snapshot
	late     bool
	settle   bool
	alerter  Alerter
}

// run emits the lines of each partition from where the last snapshot stands,
// with a barrier behind some of them, and forgets what came after the last barrier.
func (r *toyRun) run(logs map[Partition][]string, stopAfter int, rng *rand.Rand) {
	t := r.t
	t.Helper()
	schema := NewSchema()
	slot := schema.Slot(Meta, "key")
	keep := &KeepSet{}
	keep.Prepare(schema)
	var mu sync.Mutex
	var epoch []string
	g, err := NewGraph(Options{
		Workers: r.workers, Shards: r.shards, BatchRecords: 1 + rng.IntN(5), AlertLane: true, Poison: true,
		Coder: toyCoder{}, Dictionary: r.dict, Merge: r.merge, LateAlerts: r.late,
		NewWorker: func() Worker { return &toyWorker{NewEvent(schema), slot, keep, nil} },
		NewShard: func(i int) Shard {
			every := int32(3)
			if i == r.shards {
				every = 2
			}
			s := newDurableToy(every)
			s.load(r.stored)
			return s
		},
		Alerter: r.alerter,
		Deliver: func(_ context.Context, out *Outcome) error {
			mu.Lock()
			defer mu.Unlock()
			if out.Barrier != nil {
				r.alerts = append(r.alerts, epoch...)
				epoch = nil
			}
			for _, a := range out.Alerts {
				epoch = append(epoch, a.Mapkey)
			}
			return nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	next := make(map[Partition]int64)
	if r.snapshot != nil {
		next = maps.Clone(r.snapshot.Positions)
		g.Resume(r.snapshot.Positions, r.snapshot.Clocks)
		r.resume(g)
	}
	parts := slices.SortedFunc(maps.Keys(logs), func(a, b Partition) int { return cmp.Compare(a.ID, b.ID) })
	g.Expect(parts...)
	errs := make(chan error, 1)
	ctx, cancel := context.WithCancel(t.Context())
	go func() { errs <- g.Run(ctx) }()
	var emitted atomic.Int64
	var emitters sync.WaitGroup
	for _, p := range parts { // a goroutine each, as sources have
		seed := rng.Uint64()
		emitters.Go(func() { emitRandomly(ctx, g, p, logs[p], next[p], &emitted, stopAfter, rand.New(rand.NewPCG(seed, 1))) })
	}
	emitting := make(chan struct{})
	go func() {
		emitters.Wait()
		close(emitting)
	}()
	for done := false; !done && int(emitted.Load()) < stopAfter; {
		select {
		case <-emitting:
			done = true
		default:
			r.checkpoint(ctx, g)
		}
	}
	if int(emitted.Load()) < stopAfter { // the log's end: nothing of it may be lost
		r.checkpoint(ctx, g)
		g.Close()
		if err := <-errs; err != nil {
			t.Fatal(err)
		}
	} else {
		cancel() // a crash
		<-errs
	}
	cancel()
	<-emitting
}

// emitRandomly emits a partition's lines from an offset on, until all
// partitions together have emitted enough.
func emitRandomly(ctx context.Context, g *Graph, p Partition, log []string, next int64, emitted *atomic.Int64, stopAfter int, rng *rand.Rand) {
	for int(next) < len(log) && int(emitted.Load()) < stopAfter {
		n := min(1+rng.IntN(8), len(log)-int(next))
		rb := &RecordBatch{Partition: p}
		for range n {
			rb.Records = append(rb.Records, Record{Value: []byte(log[next]), Offset: next})
			next++
		}
		if g.Emit(ctx, rb) != nil {
			return
		}
		emitted.Add(int64(n))
	}
}

func (r *toyRun) resume(g *Graph) {
	var lines []*WaitingLine
	for k, v := range r.stored {
		if k[0] != byte(state.KindLine) {
			continue
		}
		number, _ := binary.Uvarint([]byte(k[1:]))
		part, _ := PartitionOf(r.dict, uint32(number))
		l, err := DecodeLine([]byte(k), []byte(v), state.SumOf([]byte(k), []byte(v)), r.dict, decodeToyPour(part))
		if err != nil {
			r.t.Fatal(err)
		}
		lines = append(lines, l)
	}
	g.ResumeLines(lines)
	var pending []PendingAlert
	for k, v := range r.stored {
		if k[0] == byte(state.KindPending) {
			o := &Overflow{}
			if _, err := fmt.Sscanf(v, "%d %d %d %s", &o.Scenario, &o.Count, &o.Cause.Offset, &o.Key); err != nil {
				r.t.Fatal(err)
			}
			pending = append(pending, PendingAlert{[]byte(k), state.SumOf([]byte(k), []byte(v)), o})
		}
	}
	g.ResumeAlerts(pending)
}

func (r *toyRun) checkpoint(ctx context.Context, g *Graph) {
	r.t.Helper()
	checkpoint := func() (*Snapshot, error) { return g.Checkpoint(ctx, 0) }
	if r.settle {
		checkpoint = func() (*Snapshot, error) { return g.Settle(ctx, 0) }
	}
	s, err := checkpoint()
	if err != nil {
		r.t.Fatal(err)
	}
	r.stored.apply(r.t, s)
	r.snapshot = s
}

func newToyRun(t *testing.T, workers, shards int) *toyRun {
	return &toyRun{
		t: t, workers: workers, shards: shards, stored: make(records), dict: state.NewDictionary(), alerter: toyAlerter{},
	}
}

func toyLog(seed uint64, n int) []string {
	rng := rand.New(rand.NewPCG(seed, 9))
	var lines []string
	for i := range n {
		lines = append(lines, fmt.Sprintf("%c %d", 'a'+rng.IntN(5), i/3))
	}
	return lines
}

// TestCrashesChangeNothing stops a graph at random moments and goes on from
// the last barrier, with other numbers of workers and shards: what comes out
// up to each barrier is what an uninterrupted graph gives.
func TestCrashesChangeNothing(t *testing.T) {
	log := toyLog(1, 2000)
	want := runToy(t, log, 1000, 1000, 1, 1)
	for seed := range uint64(10) {
		rng := rand.New(rand.NewPCG(seed, 3))
		r := newToyRun(t, 2, 3)
		for range 20 {
			r.run(map[Partition][]string{{Source: "toy", Topic: "t"}: log}, 50+rng.IntN(150), rng)
			r.workers, r.shards = 1+rng.IntN(3), 1+rng.IntN(4)
		}
		r.run(map[Partition][]string{{Source: "toy", Topic: "t"}: log}, 1<<30, rng)
		if !slices.Equal(r.alerts, want) {
			t.Fatalf("seed %d: %d alerts, want %d; they differ", seed, len(r.alerts), len(want))
		}
	}
}

// TestMergedLinesAreTheSameInEveryRun reads three partitions in random order,
// with and without crashes: the alerts are the same, in the same order.
func TestMergedLinesAreTheSameInEveryRun(t *testing.T) {
	logs := make(map[Partition][]string)
	for id := range int32(3) {
		// The end is later than all else, so that everything before is merged.
		logs[Partition{Source: "toy", Topic: "t", ID: id}] = append(toyLog(uint64(id), 400), "z 9000")
	}
	var want []string
	for seed := range uint64(12) {
		rng := rand.New(rand.NewPCG(seed, 4))
		r := newToyRun(t, 2, 2)
		r.merge = &MergeOptions{}
		if seed%2 == 1 {
			for range 10 {
				r.run(logs, 30+rng.IntN(100), rng)
				r.workers, r.shards = 1+rng.IntN(3), 1+rng.IntN(4)
			}
		}
		r.run(logs, 1<<30, rng)
		if want == nil {
			if want = r.alerts; len(want) < 300 {
				t.Fatalf("only %d alerts: too few to show anything", len(want))
			}
		}
		if !slices.Equal(r.alerts, want) {
			t.Fatalf("seed %d: %d alerts, want %d; they differ", seed, len(r.alerts), len(want))
		}
	}
}

// slowAlerter holds every alert back until it is told to let them go.
type slowAlerter struct {
	toyAlerter
	gate chan struct{}
}

func (a slowAlerter) Alert(ctx context.Context, o *Overflow) *RuntimeAlert {
	select {
	case <-a.gate:
		return a.toyAlerter.Alert(ctx, o)
	case <-ctx.Done():
		return nil
	}
}

func (slowAlerter) Repours(*Overflow) bool { return false }

// TestAnAlertThatWaitsIsState: look-ups that never end hold up neither
// batches nor barriers, and are made again after a crash.
func TestAnAlertThatWaitsIsState(t *testing.T) {
	log := map[Partition][]string{{Source: "toy", Topic: "t"}: {"b 1", "b 2", "b 3", "c 4", "c 5", "c 6"}}
	r := newToyRun(t, 1, 1)
	r.late, r.alerter = true, slowAlerter{gate: make(chan struct{})}
	rng := rand.New(rand.NewPCG(1, 5))
	r.run(log, 1<<30, rng)
	if len(r.alerts) != 0 {
		t.Fatalf("alerts %v came out before their look-ups ended", r.alerts)
	}
	gate := make(chan struct{})
	close(gate)
	r.alerter = slowAlerter{gate: gate}
	for try := 0; len(r.alerts) < 2 && try < 1000; try++ { // the look-ups end when they end
		r.run(log, 1<<30, rng)
	}
	slices.Sort(r.alerts)
	if want := []string{"0/b/3@2.0", "0/c/3@5.0"}; !slices.Equal(r.alerts, want) {
		t.Errorf("alerts %v, want %v", r.alerts, want)
	}
	for k := range r.stored {
		if k[0] == byte(state.KindPending) {
			t.Errorf("record %q is still there", k)
		}
	}
}

// TestASilentPartitionIsSteppedOver once lines have waited for it long enough, and counted.
func TestASilentPartitionIsSteppedOver(t *testing.T) {
	timer := make(chan time.Time)
	now := time.Unix(0, 0)
	o := MergeOptions{
		Idle: time.Minute, Now: func() time.Time { return now },
		After: func(time.Duration) <-chan time.Time { return timer },
	}
	m := newMerger(o, Options{BatchRecords: 10, Shards: 1})
	g := &Graph{opts: Options{Shards: 1}}
	a, b := Partition{Topic: "t", ID: 0}, Partition{Topic: "t", ID: 1}
	m.expected = []Partition{a, b}
	m.meet()
	clock := time.Unix(100, 0)
	m.add(&flight{
		Batch:  Batch{Records: &RecordBatch{Partition: a}, Steps: []ClockStep{{Line: 0, Clock: clock}}},
		ticket: &ticket{clock: clock},
	})
	if f := m.next(g); f != nil {
		t.Fatal("a line did not wait for the silent partition")
	}
	m.stepOver()
	if m.opts.IdleSteps.Load() != 0 {
		t.Fatal("it was stepped over at once")
	}
	now = now.Add(time.Minute)
	m.stepOver()
	f := m.next(g)
	if m.opts.IdleSteps.Load() != 1 || f == nil || len(f.Steps) != 1 || !f.clock.Equal(clock) {
		t.Errorf("%d steps over silent partitions, merged %+v", m.opts.IdleSteps.Load(), f)
	}
}

// TestAPartitionWithoutARecordHasAPlace: a batch without records says where it is read next.
func TestAPartitionWithoutARecordHasAPlace(t *testing.T) {
	part := Partition{Source: "toy", Topic: "t"}
	g := &Graph{next: make(map[Partition]int64), emitTurn: make(chan struct{}, 1), refusing: make(chan struct{})}
	for _, next := range []int64{7, 0} {
		released := false
		b := &RecordBatch{Partition: part, Next: next, Release: func() { released = true }}
		if err := g.Emit(t.Context(), b); err != nil || !released || g.next[part] != 7 {
			t.Errorf("at %d, released %v, %v; want 7", g.next[part], released, err)
		}
	}
	g.Refuse()
	b := &RecordBatch{Partition: part, Next: 9, Release: func() { t.Error("a batch was released that the next graph gets") }}
	if err := g.Emit(t.Context(), b); !errors.Is(err, ErrRefused) || g.next[part] != 7 {
		t.Errorf("a graph that makes way stands at %d, %v", g.next[part], err)
	}
}

// TestSettleWaitsForLookUps: none of the alerts waits at the barrier.
func TestSettleWaitsForLookUps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := map[Partition][]string{{Source: "toy", Topic: "t"}: {"b 1", "b 2", "b 3"}}
		gate := make(chan struct{})
		r := newToyRun(t, 1, 1)
		r.late, r.settle, r.alerter = true, true, slowAlerter{gate: gate}
		go func() {
			time.Sleep(time.Minute)
			close(gate)
		}()
		r.run(log, 1<<30, rand.New(rand.NewPCG(1, 5)))
		if want := []string{"0/b/3@2.0"}; !slices.Equal(r.alerts, want) {
			t.Errorf("alerts %v, want %v", r.alerts, want)
		}
	})
}

// TestACheckpointWaitsNoLongerThanItsContext for whoever emits into a full graph.
func TestACheckpointWaitsNoLongerThanItsContext(t *testing.T) {
	g, err := NewGraph(Options{Workers: 1, Shards: 1, Coder: toyCoder{}, Dictionary: state.NewDictionary()})
	if err != nil {
		t.Fatal(err)
	}
	g.emitTurn <- struct{}{} // as an Emit under way has it
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := g.Checkpoint(ctx, 0); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

// TestAShardThatCannotGoOnStopsTheGraph before its overflows are delivered.
func TestAShardThatCannotGoOnStopsTheGraph(t *testing.T) {
	schema := NewSchema()
	keep, slot := &KeepSet{}, schema.Slot(Meta, "key")
	keep.Prepare(schema)
	broken := errors.New("the disk is gone")
	delivered := 0
	g, err := NewGraph(Options{
		Workers: 1, Shards: 1, Coder: toyCoder{}, Dictionary: state.NewDictionary(),
		NewWorker: func() Worker { return &toyWorker{NewEvent(schema), slot, keep, nil} },
		NewShard: func(int) Shard {
			s := newDurableToy(3)
			s.failed = broken
			return s
		},
		Alerter: toyAlerter{},
		Deliver: func(context.Context, *Outcome) error { delivered++; return nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	errs := make(chan error, 1)
	go func() { errs <- g.Run(t.Context()) }()
	_ = g.Emit(t.Context(), &RecordBatch{Partition: Partition{Topic: "t"}, Records: []Record{{Value: []byte("b 1")}}})
	if err := <-errs; !errors.Is(err, broken) || delivered > 0 {
		t.Errorf("Run returned %v after %d outcomes, want the shard's error after none", err, delivered)
	}
}

// TestLinesOfACheckpointWaitForPartitionsThatAreNamedLater: sources name their
// partitions only once the graph runs.
func TestLinesOfACheckpointWaitForPartitionsThatAreNamedLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := Partition{Source: "toy", Topic: "t", ID: 0}, Partition{Source: "toy", Topic: "t", ID: 1}
		schema := NewSchema()
		keep, slot := &KeepSet{}, schema.Slot(Meta, "key")
		keep.Prepare(schema)
		var clocks []int64
		g, err := NewGraph(Options{
			Workers: 1, Shards: 1, Merge: &MergeOptions{}, Coder: toyCoder{}, Dictionary: state.NewDictionary(),
			NewWorker: func() Worker { return &toyWorker{NewEvent(schema), slot, keep, nil} },
			NewShard:  func(int) Shard { return newDurableToy(3) },
			Alerter:   toyAlerter{},
			Deliver: func(_ context.Context, out *Outcome) error {
				clocks = append(clocks, out.Clock.Unix())
				return nil
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		g.Resume(map[Partition]int64{a: 1}, map[Partition]time.Time{a: time.Unix(100, 0)})
		g.ResumeLines([]*WaitingLine{{Key: []byte("m"), Position: Position{a, 0, 0}, Step: true, Clock: time.Unix(100, 0)}})
		ended := make(chan error)
		go func() { ended <- g.Run(t.Context()) }()
		synctest.Wait()
		if len(clocks) != 0 {
			t.Errorf("lines up to %v went on before all partitions were named", clocks)
		}
		g.Expect(b)
		for i, text := range []string{"b 50", "b 200"} {
			rb := &RecordBatch{Partition: b, Records: []Record{{Value: []byte(text), Offset: int64(i)}}}
			if err := g.Emit(t.Context(), rb); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		if !slices.Contains(clocks, 50) || !slices.Contains(clocks, 100) || !slices.IsSorted(clocks) {
			t.Errorf("the merged clock went %v, want 50 before 100", clocks)
		}
		g.Close()
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
	})
}
